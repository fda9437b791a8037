// SPDX-License-Identifier: Apache-2.0

//! Disjoint sets of documents.

/// Disjoint sets of the numbers below a bound. The smallest member stands for its set, so the
/// result does not depend on the order of unions. Takes four bytes a number.
pub(super) struct UnionFind(Vec<u32>);

impl UnionFind {
    /// Creates sets of one member each.
    pub(super) fn new(len: u32) -> Self {
        Self((0..len).collect())
    }

    /// Creates sets from a member of each number's set that is not above the number.
    pub(super) fn from_parents(parents: Vec<u32>) -> Self {
        Self(parents)
    }

    /// Returns the smallest member of a set.
    pub(super) fn find(&mut self, mut member: u32) -> u32 {
        while self.0[member as usize] != member {
            let parent = self.0[member as usize];
            self.0[member as usize] = self.0[parent as usize];
            member = parent;
        }
        member
    }

    /// Joins the sets of two members.
    pub(super) fn union(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b) as usize] = a.min(b);
    }

    /// Returns for each number whether its set has other members.
    pub(super) fn shared(&mut self) -> Vec<bool> {
        let mut shared = vec![false; self.0.len()];
        for member in 0..self.0.len() as u32 {
            let root = self.find(member);
            if root != member {
                shared[root as usize] = true;
                shared[member as usize] = true;
            }
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sets_are_the_connected_parts(
            mut edges in prop::collection::vec((0u32..40, 0u32..40), 0..60),
        ) {
            // The same by spreading the smallest number until nothing changes.
            let mut labels: Vec<u32> = (0..40).collect();
            for _ in 0..40 {
                for &(a, b) in &edges {
                    let label = labels[a as usize].min(labels[b as usize]);
                    (labels[a as usize], labels[b as usize]) = (label, label);
                }
            }
            for _ in 0..2 {
                let mut sets = UnionFind::new(40);
                edges.iter().for_each(|&(a, b)| sets.union(a, b));
                let found: Vec<u32> = (0..40).map(|member| sets.find(member)).collect();
                prop_assert_eq!(&found, &labels);
                for (member, shared) in (0..40).zip(sets.shared()) {
                    let size = labels.iter().filter(|l| **l == labels[member]).count();
                    prop_assert_eq!(shared, size > 1);
                }
                edges.reverse();
            }
        }
    }
}
