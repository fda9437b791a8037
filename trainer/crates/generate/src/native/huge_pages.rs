//! Long arrays in large pages of memory.

use rayon::prelude::*;
use std::{
    ffi::c_int,
    sync::atomic::{AtomicBool, Ordering},
};

/// Tells the system how memory will be used (Linux).
const MADV_HUGEPAGE: c_int = 14;
/// What such advice is given for is a multiple of this.
const PAGE: usize = 4_096;

unsafe extern "C" {
    fn madvise(address: *mut u8, length: usize, advice: c_int) -> c_int;
}

/// What `of` gives for each index below `len`, unless it gives nothing for one; `zero` stands for
/// what is not needed any more.
///
/// An array that is read from one end to the other again and again is read up to 1.6 times as fast
/// where the system translates addresses by 2 MiB, not 4 KiB. That is asked for; where it is
/// refused, everything works, but slower.
pub(super) fn in_huge_pages<T: Clone + Send + Sync>(
    len: usize,
    zero: T,
    of: impl Fn(usize) -> Option<T> + Sync,
) -> Option<Vec<T>> {
    // Most arrays that are not of the form asked for show it at once, before memory is taken for
    // them.
    if len > 0 {
        of(0)?;
    }
    let mut all: Vec<T> = Vec::with_capacity(len);
    let (start, bytes) = (all.as_mut_ptr().cast::<u8>(), len * size_of::<T>());
    let skipped = start.align_offset(PAGE);
    if cfg!(target_os = "linux") && skipped < bytes {
        // SAFETY: the range is within what was just taken and starts at a page; the advice changes
        // no value in it.
        unsafe {
            madvise(start.wrapping_add(skipped), (bytes - skipped) / PAGE * PAGE, MADV_HUGEPAGE)
        };
    }
    let fails = AtomicBool::new(false);
    let each = |index| {
        if fails.load(Ordering::Relaxed) {
            return zero.clone();
        }
        of(index).unwrap_or_else(|| {
            fails.store(true, Ordering::Relaxed);
            zero.clone()
        })
    };
    (0..len).into_par_iter().map(each).collect_into_vec(&mut all);
    (!fails.into_inner()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing() {
        assert_eq!(in_huge_pages(0, 0u8, |_| None), Some(Vec::new()));
        let squares = in_huge_pages(5_000, 0, |index| Some(index * index)).unwrap();
        assert!(
            squares.iter().enumerate().all(|(index, &square)| square == index * index)
                && squares.len() == 5_000
        );
        assert_eq!(in_huge_pages(5_000, 0, |index| (index != 4_999).then_some(index)), None);
        assert_eq!(in_huge_pages(5_000, 0, |index| (index > 0).then_some(index)), None);
    }
}
