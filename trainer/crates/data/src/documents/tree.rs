// SPDX-License-Identifier: Apache-2.0

//! Merkle trees on the disk and in memory, by the rules of [`pol_primitives::trace`].

use crate::{DataError, error::IoContext};
use pol_primitives::{
    Hash,
    trace::{MerkleProof, merkle_leaf, merkle_node, merkle_top},
};
use std::{
    fs::{File, OpenOptions},
    io::{BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const NODE_BYTES: u64 = size_of::<Hash>() as u64;

/// Returns the widths of the levels of a tree, from its leaves to its highest node.
fn widths(leaves: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(leaves), |width| (*width > 1).then(|| width.div_ceil(2)))
}

/// Returns the number of nodes of a tree.
fn node_count(leaves: u32) -> u64 {
    widths(leaves).map(u64::from).sum()
}

/// Returns the path of a leaf. `node` returns the node of a number, which counts through the
/// levels.
fn path_of<E>(
    leaves: u32,
    index: u32,
    mut node: impl FnMut(u64) -> Result<Hash, E>,
) -> Result<MerkleProof, E> {
    let (mut position, mut level, mut path) = (index, 0, Vec::new());
    for width in widths(leaves) {
        if width > 1 && (position ^ 1) < width {
            path.push(node(level + u64::from(position ^ 1))?);
        }
        position >>= 1;
        level += u64::from(width);
    }
    Ok(MerkleProof::truncate_from(path))
}

/// Tree over some hashes in memory.
pub(super) struct MemoryTree {
    leaves: u32,
    nodes: Vec<Hash>,
}

impl MemoryTree {
    /// Creates the tree over at most 2^24 `leaves`.
    pub(super) fn new(leaves: &[Hash]) -> Self {
        let count = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
        let mut nodes: Vec<Hash> = leaves.iter().map(merkle_leaf).collect();
        let mut level = 0;
        for width in widths(count) {
            let end = nodes.len();
            for at in (level..end).step_by(2).filter(|_| width > 1) {
                nodes.push(match nodes[at..end] {
                    [left, right, ..] => merkle_node(&left, &right),
                    _ => nodes[at],
                });
            }
            level = end;
        }
        Self { leaves: count, nodes }
    }

    /// Returns the path of a leaf.
    pub(super) fn path(&self, index: u32) -> MerkleProof {
        let node = |number: u64| -> Result<Hash, std::convert::Infallible> {
            Ok(usize::try_from(number)
                .ok()
                .and_then(|at| self.nodes.get(at))
                .copied()
                .unwrap_or_default())
        };
        let Ok(path) = path_of(self.leaves, index, node);
        path
    }
}

/// Tree in a file, level by level.
#[derive(Debug)]
pub(super) struct TreeFile {
    path: PathBuf,
    file: File,
    leaves: u32,
    root: Hash,
}

impl TreeFile {
    /// Writes the file of a tree over `leaves` hashes.
    pub(super) fn write(
        path: &Path,
        leaves: u32,
        mut hashes: impl Iterator<Item = Result<Hash, DataError>>,
    ) -> Result<(), DataError> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path);
        let mut file = BufWriter::new(file.io_context("write", path)?);
        hashes
            .try_for_each(|hash| file.write_all(&merkle_leaf(&hash?)).io_context("write", path))?;
        let mut below = BufReader::new(File::open(path).io_context("read", path)?);
        for width in widths(leaves).filter(|width| *width > 1) {
            // What is read next has been written.
            file.flush().io_context("write", path)?;
            for at in (0..width).step_by(2) {
                let mut pair = [Hash::default(); 2];
                let [left, right] = &mut pair;
                below.read_exact(left).io_context("read", path)?;
                let node = if at + 1 < width {
                    below.read_exact(right).io_context("read", path)?;
                    merkle_node(left, right)
                } else {
                    *left
                };
                file.write_all(&node).io_context("write", path)?;
            }
        }
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).io_context("write", path)
    }

    /// Opens the file of a tree over `leaves` hashes.
    pub(super) fn open(path: PathBuf, leaves: u32) -> Result<Self, DataError> {
        let file = File::open(&path).io_context("open", &path)?;
        let bytes = file.metadata().io_context("read", &path)?.len();
        if leaves == 0 || bytes != node_count(leaves) * NODE_BYTES {
            let reason = format!("{bytes} bytes are no tree over {leaves} documents");
            return Err(DataError::Damaged { path, reason });
        }
        let mut tree = Self { path, file, leaves, root: Hash::default() };
        tree.root = merkle_top(&tree.node(node_count(leaves) - 1)?, leaves);
        Ok(tree)
    }

    /// Checks every node. `hashes` are those of the leaves.
    pub(super) fn verify(
        &self,
        hashes: impl Iterator<Item = Result<Hash, DataError>>,
    ) -> Result<(), DataError> {
        let reader = || File::open(&self.path).map(BufReader::new).io_context("open", &self.path);
        let next = |nodes: &mut BufReader<File>| {
            let mut node = Hash::default();
            nodes.read_exact(&mut node).io_context("read", &self.path)?;
            Ok::<_, DataError>(node)
        };
        let (mut nodes, mut below) = (reader()?, reader()?);
        let mut is_sound = true;
        for hash in hashes {
            is_sound &= next(&mut nodes)? == merkle_leaf(&hash?);
        }
        for width in widths(self.leaves).filter(|width| *width > 1) {
            for at in (0..width).step_by(2) {
                let left = next(&mut below)?;
                let is_paired = at + 1 < width;
                let node = if is_paired { merkle_node(&left, &next(&mut below)?) } else { left };
                is_sound &= next(&mut nodes)? == node;
            }
        }
        if is_sound {
            return Ok(());
        }
        let reason = "its nodes are not those over the leaves".to_owned();
        Err(DataError::DamagedFile { path: self.path.clone(), reason })
    }

    fn node(&self, number: u64) -> Result<Hash, DataError> {
        let mut hash = Hash::default();
        self.file.read_exact_at(&mut hash, number * NODE_BYTES).io_context("read", &self.path)?;
        Ok(hash)
    }

    /// Returns the root.
    pub(super) fn root(&self) -> Hash {
        self.root
    }

    /// Returns the path of a leaf.
    pub(super) fn path(&self, index: u32) -> Result<MerkleProof, DataError> {
        path_of(self.leaves, index, |number| self.node(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::trace::{merkle_proof, merkle_root};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn both_trees_are_those_of_the_protocol(
            leaves in prop::collection::vec(any::<Hash>(), 1..70),
        ) {
            let (folder, count) = (tempfile::tempdir().unwrap(), leaves.len() as u32);
            let path = folder.path().join("tree");
            TreeFile::write(&path, count, leaves.iter().copied().map(Ok)).unwrap();
            let (file, memory) =
                (TreeFile::open(path, count).unwrap(), MemoryTree::new(&leaves));
            prop_assert_eq!(file.root(), merkle_root(&leaves));
            for index in 0..count {
                let expected = merkle_proof(&leaves, index).unwrap();
                prop_assert_eq!(&file.path(index).unwrap(), &expected);
                prop_assert_eq!(&memory.path(index), &expected);
            }
        }
    }

    #[test]
    fn trees_of_another_size_are_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tree");
        TreeFile::write(&path, 3, [[1; 32]; 3].into_iter().map(Ok)).unwrap();
        for leaves in [0, 2, 4, u32::MAX] {
            let opened = TreeFile::open(path.clone(), leaves);
            assert!(matches!(opened, Err(DataError::Damaged { .. })), "{leaves}");
        }
        assert!(TreeFile::open(path, 3).is_ok());
    }
}
