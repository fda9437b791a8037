// SPDX-License-Identifier: Apache-2.0

//! Long arrays in huge pages.

use std::ffi::c_int;

/// Advice to use huge pages (Linux).
const MADV_HUGEPAGE: c_int = 14;
/// Unit of such advice, in bytes.
const PAGE: usize = 4_096;

unsafe extern "C" {
    fn madvise(address: *mut u8, length: usize, advice: c_int) -> c_int;
}

/// Reserves memory for `additional` more elements of `all`, in huge pages if the system has them.
///
/// A repeated sequential read is up to 1.6 times as fast if the system maps memory in pages of 2
/// MiB instead of 4 KiB. A refusal costs only speed.
pub(super) fn reserve_huge<T>(all: &mut Vec<T>, additional: usize) {
    all.reserve_exact(additional);
    let spare = all.spare_capacity_mut();
    let (start, bytes) = (spare.as_mut_ptr().cast::<u8>(), size_of_val(spare));
    let skipped = start.align_offset(PAGE);
    if cfg!(target_os = "linux") && skipped < bytes {
        // SAFETY: the range lies within the spare memory of the vector and starts at a page. The
        // advice changes no value in it.
        unsafe {
            madvise(start.wrapping_add(skipped), (bytes - skipped) / PAGE * PAGE, MADV_HUGEPAGE)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserving_keeps_what_is_there() {
        let mut all = vec![7u32; 3];
        reserve_huge(&mut all, 2_000_000);
        let start = all.as_ptr();
        all.resize(2_000_003, 9);
        assert_eq!((all.as_ptr(), all[2], all[3], all[2_000_002]), (start, 7, 9, 9));
        reserve_huge(&mut Vec::<u8>::new(), 0);
    }
}
