//! The allocator that a program around the engine should run on: one that keeps the pages of freed tensors for the next ones. The
//! system's gives buffers of this size back at once, and some 7 % of a training step went into getting
//! them anew, page by page.
//!
//! A program opts in: `#[global_allocator] static ALLOCATOR: engine::memory::Allocator = engine::memory::ALLOCATOR;`
//! and [`keep_pages`] first thing in `main`.

use libmimalloc_sys as mimalloc;

pub use ::mimalloc::MiMalloc as Allocator;

pub const ALLOCATOR: Allocator = Allocator;

/// mimalloc's `mi_option_purge_delay`, whose number the bindings leave out: its place in `mi_option_e` of mimalloc.h.
const PURGE_DELAY: i32 = 15;
/// Longer than the memory of one step's forward pass waits for the next: minutes on a slow machine.
const KEEP_MS: i64 = 300_000;

/// Freed pages stay for minutes instead of a second.
#[expect(unsafe_code, reason = "the allocator's settings are behind C functions")]
pub fn keep_pages() {
    // SAFETY: called before other threads are started, which is all that mi_option_set asks for.
    unsafe { mimalloc::mi_option_set(PURGE_DELAY, KEEP_MS) };
}

/// Gives kept pages back to the system: when a long work is over.
#[expect(unsafe_code, reason = "the allocator's settings are behind C functions")]
pub fn give_back() {
    // SAFETY: may be called at any time from any thread.
    unsafe { mimalloc::mi_collect(true) };
}

/// The process's largest resident memory so far. Linux says it in /proc; elsewhere 0.
pub fn peak_bytes() -> u64 {
    resident("VmHWM:")
}

/// The process's resident memory now. Linux says it in /proc; elsewhere 0.
pub fn resident_bytes() -> u64 {
    resident("VmRSS:")
}

fn resident(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map_or(0, |value| value * 1024)
}
