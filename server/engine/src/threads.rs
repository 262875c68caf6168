//! The threads that compute: rayon's, with the one that asks among them.

/// Makes this thread one of the pool's. A thread outside the pool hands each product over and waits, which for the small ones
/// of decoding takes longer than they do. For the one thread of a program that trains and generates, before the engine is
/// first used; later calls change nothing.
pub fn compute_here() {
    // An error says that the pool stands already, with other threads: slower, and nothing else.
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
}
