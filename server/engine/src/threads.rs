//! The rayon pool that all kernels run on, and the one thread that computes as part of it.

/// Makes this thread a thread of rayon's global pool. A thread outside the pool hands each kernel over and waits for
/// it; inside, it starts the kernel itself and works along. Training was measured to be as fast either way.
///
/// Must come before anything else in the process uses rayon, opening a device included: whoever is first builds the
/// pool. Returns an error if the pool was built without this thread; everything still works.
pub fn join_rayon_pool() -> Result<(), rayon::ThreadPoolBuildError> {
    if in_rayon_pool() {
        return Ok(());
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    // rayon's own variable, which a number given here would overrule.
    let asked =
        std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok()).filter(|&threads| threads > 0);
    // At least two: with this thread alone, rayon calls from any other thread would wait until this one is idle.
    let threads = asked.unwrap_or_else(cores).max(2);
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()
}

/// Whether this thread is one of rayon's.
pub fn in_rayon_pool() -> bool {
    rayon::current_thread_index().is_some()
}
