// SPDX-License-Identifier: Apache-2.0

//! Pages of facts, by keys and never by offsets, so that each costs the same.

use crate::{
    Index, IndexError,
    facts::{Fact, State},
    lookups::Lookup,
    value::{Field, Reader, Value, bind},
};
use pol_chain::{AccountId, BlockInfo};
use pol_primitives::{Hash, round::BlockNumber};
use sqlx::{Any, AssertSqlSafe, any::AnyRow};
use std::{fmt, str::FromStr};

/// Largest number of items of a page.
pub const MAX_PAGE: u32 = 1_000;

/// Number of selections of one statement.
const SELECTIONS_AT_ONCE: usize = 50;

/// Place of a fact in the history of the chain, by which pages continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Height of the block.
    pub block: BlockNumber,
    /// Number among the facts of the block.
    pub item: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.block, self.item)
    }
}

/// Error of a text that is not a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a position: give one that a page named as the start of the next, like 7-2")]
pub struct InvalidPosition(String);

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (block, item) = text.split_once('-')?;
            Some(Self { block: block.parse().ok()?, item: item.parse().ok()? })
        };
        parse().ok_or_else(|| InvalidPosition(text.to_owned()))
    }
}

/// Order of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// From the newest fact on.
    #[default]
    NewestFirst,
    /// From the oldest fact on.
    OldestFirst,
}

/// Part of a selection that a page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Order.
    pub order: Order,
    /// Last position of the page before, or `None` for the first page.
    pub after: Option<Position>,
    /// Number of items, from 1 to [`MAX_PAGE`]. Other numbers are replaced by the nearest of these.
    pub limit: u32,
}

impl Default for Range {
    fn default() -> Self {
        Self { order: Order::NewestFirst, after: None, limit: 100 }
    }
}

/// Part of a selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Items.
    pub items: Vec<T>,
    /// Value of [`Range::after`] for the next page, or `None` if this is the last one.
    pub next: Option<Position>,
}

/// Fact with its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<F> {
    /// Place of the fact.
    pub at: Position,
    /// Time of the block in milliseconds since 1970.
    pub time: u64,
    /// Fact.
    pub fact: F,
}

/// Block of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedBlock {
    /// Height and hash of the block.
    pub block: BlockInfo,
    /// Hash of the block before it.
    pub parent: Hash,
    /// Time in milliseconds since 1970.
    pub time: u64,
    /// Authority that produced it.
    pub author: Option<AccountId>,
}

impl Range {
    /// Returns the number of items within its limits.
    pub(crate) fn items(&self) -> u32 {
        self.limit.clamp(1, MAX_PAGE)
    }

    /// Returns the values that positions are compared with, and the number of rows to ask for:
    /// one more than the page has.
    pub(crate) fn values(&self) -> [Value; 3] {
        let (block, item) = match (self.after, self.order) {
            (Some(after), _) => (after.block.into(), after.item.into()),
            (None, Order::NewestFirst) => (i64::MAX, i64::MAX),
            (None, Order::OldestFirst) => (-1, -1),
        };
        [block, item, i64::from(self.items()) + 1].map(|value| Value::Integer(Some(value)))
    }

    /// Returns the end of a statement that selects a page of `f`. Its parameters begin at `first`.
    pub(crate) fn clause(&self, first: usize) -> String {
        let (comparison, direction) = match self.order {
            Order::NewestFirst => ("<", "DESC"),
            Order::OldestFirst => (">", "ASC"),
        };
        format!(
            "(f.block, f.item) {comparison} (${first}, ${}) \
             ORDER BY f.block {direction}, f.item {direction} LIMIT ${}",
            first + 1,
            first + 2
        )
    }

    /// Returns the page of these rows.
    pub(crate) fn page<T>(&self, mut items: Vec<T>, at: impl Fn(&T) -> Position) -> Page<T> {
        let limit = usize::try_from(self.items()).unwrap_or(usize::MAX);
        let is_last = items.len() <= limit;
        items.truncate(limit);
        let next = items.last().filter(|_| !is_last).map(at);
        Page { items, next }
    }
}

/// Returns the columns of a selected row of `f`.
fn selected<F: Fact>() -> String {
    let time = "(SELECT time FROM blocks WHERE number = f.block)";
    format!("f.block, f.item, {time}, f.{}", F::columns().join(", f."))
}

/// Returns the statement of a page, and the values of its first parameters, which begin at `first`.
/// Those of the range follow.
fn statement<L: Lookup>(lookup: &L, range: &Range, first: usize) -> (String, Vec<Value>) {
    let conditions = lookup.conditions();
    let equal = (first..).zip(&conditions);
    let equal: String = equal.map(|(at, (column, _))| format!("f.{column} = ${at} AND ")).collect();
    let sql = format!(
        "SELECT {} FROM {} f WHERE {equal}{}",
        selected::<L::Fact>(),
        L::Fact::TABLE,
        range.clause(first + conditions.len())
    );
    (sql, conditions.into_iter().map(|(_, value)| value).collect())
}

pub(crate) fn read_row<F: Fact>(reader: &mut Reader<'_>) -> Result<Row<F>, sqlx::Error> {
    let at = Position { block: Field::read(reader)?, item: Field::read(reader)? };
    Ok(Row { at, time: Field::read(reader)?, fact: F::read(reader)? })
}

/// Reads. All of them fail only if the database does.
impl Index {
    /// Returns a page of facts, in the order of the chain.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn page<L: Lookup>(
        &self,
        lookup: L,
        range: Range,
    ) -> Result<Page<Row<L::Fact>>, IndexError> {
        let (sql, values) = statement(&lookup, &range, 1);
        let rows = self.select(sql, values.into_iter().chain(range.values())).await?;
        let rows: Result<Vec<_>, _> =
            rows.iter().map(|row| read_row::<L::Fact>(&mut Reader::new(row))).collect();
        Ok(range.page(rows?, |row| row.at))
    }

    /// Returns the newest fact of a selection.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn newest<L: Lookup>(&self, lookup: L) -> Result<Option<Row<L::Fact>>, IndexError> {
        let range = Range { limit: 1, ..Range::default() };
        Ok(self.page(lookup, range).await?.items.into_iter().next())
    }

    /// Returns the first facts of each of several selections, at most `limit` of one, all in the
    /// order of the chain.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn first_of_each<L: Lookup>(
        &self,
        lookups: &[L],
        order: Order,
        limit: u32,
    ) -> Result<Vec<Row<L::Fact>>, IndexError> {
        let range = Range { order, after: None, limit };
        let mut found = Vec::new();
        for lookups in lookups.chunks(SELECTIONS_AT_ONCE) {
            let (mut parts, mut all) = (Vec::new(), Vec::new());
            for (number, lookup) in lookups.iter().enumerate() {
                let (sql, values) = statement(lookup, &range, all.len() + 1);
                parts.push(format!("SELECT * FROM ({sql}) AS s{number}"));
                let [block, item, _] = range.values();
                all.extend(values);
                all.extend([block, item, Value::Integer(Some(range.items().into()))]);
            }
            for row in &self.select(parts.join(" UNION ALL "), all).await? {
                found.push(read_row::<L::Fact>(&mut Reader::new(row))?);
            }
        }
        found.sort_by(|a, b| match order {
            Order::NewestFirst => b.at.cmp(&a.at),
            Order::OldestFirst => a.at.cmp(&b.at),
        });
        Ok(found)
    }

    /// Returns the present state with a key.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn state<S: State>(&self, key: &S::Key) -> Result<Option<Row<S>>, IndexError> {
        let found = self.present::<S>(Some(key), "=", 1).await?;
        Ok(found.into_iter().next())
    }

    /// Returns at most `limit` present states behind a key, in the order of their keys. All pages
    /// of them are of the last block when they are read, so that a state may change between two.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn states<S: State>(
        &self,
        after: Option<&S::Key>,
        limit: u32,
    ) -> Result<Vec<Row<S>>, IndexError> {
        self.present::<S>(after, ">", limit.clamp(1, MAX_PAGE)).await
    }

    async fn present<S: State>(
        &self,
        key: Option<&S::Key>,
        comparison: &str,
        limit: u32,
    ) -> Result<Vec<Row<S>>, IndexError> {
        let mut values = Vec::with_capacity(2);
        let behind = key.map_or_else(String::new, |key| {
            Field::write(Some(key), &mut values);
            format!(" AND f.{} {comparison} $1", S::KEY)
        });
        let sql = format!(
            "SELECT {} FROM {} f WHERE f.until IS NULL{behind} ORDER BY f.{} LIMIT {limit}",
            selected::<S>(),
            S::TABLE,
            S::KEY
        );
        let rows = self.select(sql, values).await?;
        Ok(rows.iter().map(|row| read_row(&mut Reader::new(row))).collect::<Result<_, _>>()?)
    }

    /// Returns at most `limit` blocks before a height, newest first.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn blocks(
        &self,
        before: Option<BlockNumber>,
        limit: u32,
    ) -> Result<Vec<IndexedBlock>, IndexError> {
        let sql = "SELECT number, hash, parent, time, author FROM blocks WHERE number < $1 \
                   ORDER BY number DESC LIMIT $2";
        let before = before.map_or(i64::MAX, i64::from);
        let limit = i64::from(limit.clamp(1, MAX_PAGE));
        let values = [before, limit].map(|value| Value::Integer(Some(value)));
        let rows = self.select(sql.to_owned(), values).await?;
        let read = |row| {
            let mut row = Reader::new(row);
            let block = BlockInfo { number: Field::read(&mut row)?, hash: Field::read(&mut row)? };
            Ok::<_, sqlx::Error>(IndexedBlock {
                block,
                parent: Field::read(&mut row)?,
                time: Field::read(&mut row)?,
                author: Field::read(&mut row)?,
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Returns the rows of a statement.
    pub(crate) async fn select(
        &self,
        sql: String,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<AnyRow>, IndexError> {
        let query = values.into_iter().fold(sqlx::query::<Any>(AssertSqlSafe(sql)), bind);
        Ok(query.fetch_all(&self.pool).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_written() {
        let at = Position { block: 7, item: 2 };
        assert_eq!(at.to_string().parse(), Ok(at));
        for text in ["", "7", "7-", "-2", "7-2-1", "7-4294967296", "x-1"] {
            let error = text.parse::<Position>().unwrap_err().to_string();
            assert!(error.contains("not a position"), "{error}");
        }
    }

    #[test]
    fn a_page_names_the_next_one_unless_it_is_the_last() {
        let at = |block: &u32| Position { block: *block, item: 0 };
        let range = Range { limit: 2, ..Range::default() };
        assert_eq!(range.page(vec![9, 8, 7], at).next, Some(at(&8)));
        assert_eq!(range.page(vec![9, 8], at), Page { items: vec![9, 8], next: None });
        assert_eq!(Range { limit: 0, ..range }.items(), 1);
        assert_eq!(Range { limit: u32::MAX, ..range }.items(), MAX_PAGE);
    }
}
