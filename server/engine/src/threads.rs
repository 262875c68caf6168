//! The threads that compute: rayon's, with the one that asks among them.

/// Makes this thread one of the pool's. A thread outside the pool hands each product over and waits, which for the small ones
/// of decoding takes longer than they do. For the one thread of a program that trains and generates, before the engine is
/// first used; later calls change nothing.
pub fn compute_here() {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    // rayon's own variable, which a number given here would overrule.
    let asked =
        std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok()).filter(|&threads| threads > 0);
    // With one thread in all, this one, work that another thread hands to the pool would wait for as long as this one waits for a run.
    let threads = asked.unwrap_or_else(cores).max(2);
    // An error says that the pool stands already, with other threads: slower, and nothing else.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global();
}
