//! The allocator that a program around the engine should run on: one that keeps the pages of freed tensors for the next ones. The
//! system's gives buffers of this size back at once, and some 7 % of a training step went into getting
//! them anew, page by page.
//!
//! A program opts in: `#[global_allocator] static ALLOCATOR: engine::memory::Allocator = engine::memory::ALLOCATOR;`
//! and [`keep_pages`] first thing in `main`.

use std::mem::MaybeUninit;

use libmimalloc_sys as mimalloc;
use rayon::prelude::*;

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

/// Takes blocks of these sizes in bytes all at once, writes to each of their pages, and frees them: tensors of these sizes then find
/// pages that the system has cleared already. Else what the system says that it has, or None where it was the allocator that refused.
pub(crate) fn reserve(sizes: &[usize]) -> Result<(), Option<u64>> {
    const PAGE: usize = 4096;
    // Linux gives what it does not have, and kills whoever uses it; so it is asked first.
    let (needed, available) = (sizes.iter().map(|&size| size as u64).sum::<u64>(), available_bytes());
    if available.is_some_and(|available| available < needed) {
        return Err(available);
    }
    let block = |&size: &usize| {
        let mut block = Vec::<u8>::new();
        block.try_reserve_exact(size).map(|()| block)
    };
    let mut blocks = sizes.iter().map(block).collect::<Result<Vec<_>, _>>().map_err(|_| None)?;
    blocks.par_iter_mut().for_each(|block| {
        let room = block.spare_capacity_mut();
        room.iter_mut().step_by(PAGE).for_each(|byte| *byte = MaybeUninit::new(0));
        std::hint::black_box(room);
    });
    Ok(())
}

/// Memory of the whole machine. Linux says it in /proc; elsewhere 0.
pub fn total_bytes() -> u64 {
    of_machine(&["MemTotal:"]).unwrap_or(0)
}

/// What may still be taken without another process giving something up, with swap. Linux estimates it in /proc, of the whole machine
/// even where a container may take less; elsewhere None.
fn available_bytes() -> Option<u64> {
    of_machine(&["MemAvailable:", "SwapFree:"])
}

fn of_machine(what: &[&str]) -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    what.iter().map(|what| kilobytes(&info, what)).sum()
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
    kilobytes(&status, what).unwrap_or(0)
}

/// A line of /proc such as `VmRSS:  1024 kB`, in bytes.
fn kilobytes(text: &str, what: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(what))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|value| value * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_is_reserved_and_what_there_is_not_is_refused() {
        assert_eq!(reserve(&[]), Ok(()));
        assert_eq!(reserve(&[1, 5000, 1 << 20]), Ok(()));
        assert_eq!(
            reserve(&[1 << 20, 1 << 62]).map_err(|available| available.is_some()),
            Err(cfg!(target_os = "linux"))
        );
    }

    #[test]
    fn a_line_of_proc_is_read_in_bytes() {
        assert_eq!(kilobytes("MemTotal:  7 kB\nMemAvailable:   12 kB\n", "MemAvailable:"), Some(12 << 10));
        assert_eq!(kilobytes("MemTotal: 7 kB", "MemAvailable:"), None);
        assert_eq!(kilobytes("MemAvailable: many", "MemAvailable:"), None);
    }
}
