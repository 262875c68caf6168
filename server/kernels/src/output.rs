//! Output memory: vectors that are written without being zeroed first, and outputs whose parts several threads write.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// A vector of `size` values that `write` fills: zeroing memory that is overwritten at once costs as much as a norm.
///
/// # Safety
///
/// `write` must write every element.
pub(crate) unsafe fn written(size: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(size);
    write(&mut values.spare_capacity_mut()[..size]);
    // SAFETY: the capacity is at least `size`, and the caller promises that `write` has written all of it.
    unsafe { values.set_len(size) };
    values
}

/// A copy made by all threads.
pub fn parallel_copy(values: &[f32]) -> Vec<f32> {
    const TASK: usize = 1 << 15;
    let copy = |out: &mut [MaybeUninit<f32>]| {
        out.par_chunks_mut(TASK).zip(values.par_chunks(TASK)).for_each(|(out, values)| {
            out.write_copy_of_slice(values);
        });
    };
    // SAFETY: both sides have the same length and are cut into the same chunks.
    unsafe { written(values.len(), copy) }
}

/// An output of which several threads write disjoint parts. The length is the caller's to know.
#[derive(Clone, Copy)]
pub(crate) struct SharedOutput(*mut f32);

impl SharedOutput {
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    pub(crate) fn uninit(values: &mut [MaybeUninit<f32>]) -> Self {
        Self(values.as_mut_ptr().cast())
    }

    /// The address of an element; whether it lies within the output is for whoever writes there to know.
    pub(crate) fn at(self, index: usize) -> *mut f32 {
        self.0.wrapping_add(index)
    }
}

// SAFETY: it is an address alone; each use of it says why no other thread reads or writes the same elements.
unsafe impl Send for SharedOutput {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parallel_copy_is_equal_over_several_tasks() {
        let values: Vec<f32> = (0..(1 << 16) + 7).map(|i| i as f32).collect();
        assert_eq!(parallel_copy(&values), values);
    }
}
