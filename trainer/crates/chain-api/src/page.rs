// SPDX-License-Identifier: Apache-2.0

//! Pages of answers, and the block that they are of.

use crate::values::Time;
use pol_index::{Fact, Page, Row};
use serde::Serialize;
use utoipa::ToSchema;

/// Block up to which the index knows the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AsOf {
    /// Last block of the index.
    #[schema(example = 812)]
    pub(crate) block: u32,
    /// Time of that block.
    pub(crate) time: Time,
    /// Last block of the index that is final.
    #[serde(rename = "final")]
    #[schema(example = 810)]
    pub(crate) finalised: Option<u32>,
    /// Blocks by which the node is ahead; null while no node answers.
    #[schema(example = 0)]
    pub(crate) behind: Option<u32>,
    /// Reason why the index does not go on, with the remedy; null while it does, and where another
    /// process fills it.
    pub(crate) trouble: Option<String>,
}

/// Page of items.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Items<T> {
    /// Items.
    pub(crate) items: Vec<T>,
    /// Value of `after` for the next page; null on the last one.
    #[schema(example = "7-2")]
    pub(crate) next: Option<String>,
    /// Block that the answer is of.
    pub(crate) as_of: AsOf,
}

impl<T> Items<T> {
    /// Creates the answer of a page of the index.
    pub(crate) fn of<F: Fact>(page: Page<Row<F>>, as_of: AsOf) -> Self
    where
        T: From<Row<F>>,
    {
        let next = page.next.map(|next| next.to_string());
        Self { items: page.items.into_iter().map(T::from).collect(), next, as_of }
    }

    /// Creates the answer of a page by keys, which is full if it has `limit` items.
    pub(crate) fn by_key<K: ToString>(
        items: Vec<T>,
        limit: u32,
        as_of: AsOf,
        key: impl Fn(&T) -> K,
    ) -> Self {
        let is_full = u32::try_from(items.len()).is_ok_and(|length| length >= limit);
        let next = items.last().filter(|_| is_full).map(|last| key(last).to_string());
        Self { items, next, as_of }
    }
}
