//! The allocator for a program around the engine, which retains the pages of freed tensors for the next ones. The
//! system's allocator returns buffers of this size at once, and some 7 % of a training step was spent on page faults.
//!
//! A program opts in: `#[global_allocator] static ALLOCATOR: engine::memory::Allocator = engine::memory::ALLOCATOR;`
//! and [`retain_pages`] first thing in `main`.

use std::mem::MaybeUninit;

use libmimalloc_sys as mimalloc;
use rayon::prelude::*;

pub use ::mimalloc::MiMalloc as Allocator;

pub const ALLOCATOR: Allocator = Allocator;

/// mimalloc's `mi_option_purge_delay`, which the bindings lack: its index in `mi_option_e` of mimalloc.h.
const PURGE_DELAY: i32 = 15;
/// Longer than one training step: minutes on a slow machine.
const RETAIN_MS: i64 = 300_000;

/// Retains freed pages for minutes instead of a second.
#[expect(unsafe_code, reason = "the allocator's settings are behind C functions")]
pub fn retain_pages() {
    // SAFETY: called before other threads are started, as mi_option_set requires.
    unsafe { mimalloc::mi_option_set(PURGE_DELAY, RETAIN_MS) };
}

/// Returns retained pages to the system, after a run.
#[expect(unsafe_code, reason = "the allocator's settings are behind C functions")]
pub fn release_memory() {
    // SAFETY: mi_collect may be called at any time from any thread.
    unsafe { mimalloc::mi_collect(true) };
}

/// Allocates blocks of these sizes in bytes, writes to each of their pages, and frees them: tensors of these sizes then
/// reuse mapped pages. Returns Err(available bytes) if there is too little memory, or Err(None) if the allocation
/// itself failed.
pub(crate) fn reserve(sizes: &[usize]) -> Result<(), Option<u64>> {
    const PAGE: usize = 4096;
    // Linux overcommits, and kills the process that uses what it does not have; so it is asked first.
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
        let bytes = block.spare_capacity_mut();
        bytes.iter_mut().step_by(PAGE).for_each(|byte| *byte = MaybeUninit::new(0));
        std::hint::black_box(bytes);
    });
    Ok(())
}

/// Memory of the whole machine, from /proc; 0 on other systems than Linux.
pub fn total_bytes() -> u64 {
    machine_memory(&["MemTotal:"]).unwrap_or(0)
}

/// Available memory and free swap of the whole machine, from /proc; a container's limit is not considered. None on
/// other systems than Linux.
fn available_bytes() -> Option<u64> {
    machine_memory(&["MemAvailable:", "SwapFree:"])
}

fn machine_memory(what: &[&str]) -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    what.iter().map(|what| kilobytes(&info, what)).sum()
}

/// The process's peak resident memory, from /proc; 0 on other systems than Linux.
pub fn peak_bytes() -> u64 {
    resident("VmHWM:")
}

/// The process's resident memory, from /proc; 0 on other systems than Linux.
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
    fn available_memory_is_reserved_and_more_is_refused() {
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
