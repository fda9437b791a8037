// SPDX-License-Identifier: Apache-2.0

//! Blocks of the index: added at the end, and taken back from there.

use crate::{
    IndexError,
    facts::Fact,
    schema,
    value::{Field, Reader, Value, bind},
};
use pol_chain::{AccountId, BlockInfo};
use pol_primitives::{Hash, round::BlockNumber};
use sqlx::{Any, AnyPool, AssertSqlSafe, Transaction, any::AnyRow};
use std::collections::{BTreeMap, HashMap};

/// Number of rows of one statement.
const ROWS: usize = 64;

/// Index of a chain's past in a database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Index {
    pub(crate) pool: AnyPool,
}

/// Block with its facts.
#[derive(Clone, Debug)]
pub struct BlockFacts {
    /// Height and hash of the block.
    pub block: BlockInfo,
    /// Hash of the block before it.
    pub parent: Hash,
    /// Time of the block in milliseconds since 1970.
    pub time: u64,
    /// Authority that produced it.
    pub author: Option<AccountId>,
    rows: Vec<StoredRow>,
}

/// Fact as a row.
#[derive(Clone, Debug)]
struct StoredRow {
    table: &'static str,
    columns: fn() -> Vec<String>,
    /// Column of the key by which it replaces an earlier row.
    key: Option<&'static str>,
    values: Vec<Value>,
}

/// Table and column of a key, and its value.
type StateKey = (&'static str, &'static str, Value);

/// Rows of a table that are to be inserted, with the columns of all.
#[derive(Default)]
struct Batch {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl BlockFacts {
    /// Creates a block without facts.
    #[must_use]
    pub fn new(block: BlockInfo, parent: Hash, time: u64, author: Option<AccountId>) -> Self {
        Self { block, parent, time, author, rows: Vec::new() }
    }

    /// Adds a fact.
    pub fn push<F: Fact>(&mut self, fact: &F) {
        self.rows.push(StoredRow {
            table: F::TABLE,
            columns: F::columns,
            key: F::STATE_KEY,
            values: fact.values(),
        });
    }

    /// Returns the number of facts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns `true` if there are no facts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Index {
    /// Opens a database, and makes its tables if it has none. A path, or a URL that begins with
    /// `sqlite:`, is that of a file for SQLite; a URL that begins with `postgres:` is that of a
    /// database of a PostgreSQL server.
    ///
    /// # Errors
    ///
    /// Fails with [`IndexError::NotADatabase`] for another address, with
    /// [`IndexError::Unreachable`] if the database cannot be opened, with [`IndexError::Newer`] if
    /// a newer program made it, and with [`IndexError::Migration`] if it has other tables.
    pub async fn open(address: &str) -> Result<Self, IndexError> {
        Ok(Self { pool: schema::open(address).await? })
    }

    /// Opens a database as [`Self::open`] does, but makes no file.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::open`] does, and with [`IndexError::Missing`] without the file.
    pub async fn open_existing(address: &str) -> Result<Self, IndexError> {
        Ok(Self { pool: schema::open_existing(address).await? })
    }

    /// Closes the connections, after which an SQLite database is one file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Returns the last block of the index, or `None` if it is empty.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn last_block(&self) -> Result<Option<BlockInfo>, IndexError> {
        self.block("SELECT number, hash FROM blocks ORDER BY number DESC LIMIT 1", None).await
    }

    /// Returns the hash of the block at a height, or `None` if the index does not have it.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn block_hash(&self, number: BlockNumber) -> Result<Option<Hash>, IndexError> {
        let sql = "SELECT number, hash FROM blocks WHERE number = $1";
        Ok(self.block(sql, Some(number)).await?.map(|block| block.hash))
    }

    /// Returns the last final block, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn finalised_block(&self) -> Result<Option<BlockInfo>, IndexError> {
        let sql = "SELECT number, hash FROM blocks WHERE number = (SELECT number FROM finality)";
        self.block(sql, None).await
    }

    async fn block(
        &self,
        sql: &'static str,
        number: Option<BlockNumber>,
    ) -> Result<Option<BlockInfo>, IndexError> {
        let mut query = sqlx::query::<Any>(sql);
        if let Some(number) = number {
            query = query.bind(i64::from(number));
        }
        Ok(query.fetch_optional(&self.pool).await?.as_ref().map(read_block).transpose()?)
    }

    /// Adds blocks behind the last one, all of them or none.
    ///
    /// # Errors
    ///
    /// Fails with [`IndexError::NotNext`] if a block does not follow the one before it, and if the
    /// database does.
    pub async fn apply(&self, blocks: &[BlockFacts]) -> Result<(), IndexError> {
        let mut last = self.last_block().await?;
        for BlockFacts { block, parent, .. } in blocks {
            let follows = match last {
                Some(last) => {
                    last.number.checked_add(1) == Some(block.number) && last.hash == *parent
                }
                None => block.number == 0,
            };
            if !follows {
                return Err(IndexError::NotNext { number: block.number });
            }
            last = Some(*block);
        }
        if blocks.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().await?;
        // Facts and ends of states refer to their blocks.
        insert(&mut transaction, "blocks", &block_rows(blocks)).await?;
        end_states(&mut transaction, blocks).await?;
        for (table, batch) in batches(blocks) {
            insert(&mut transaction, table, &batch).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Takes the last block back with all its facts. States that it replaced hold again.
    ///
    /// # Errors
    ///
    /// Fails with [`IndexError::NotLast`] if it is not the last block, or is final, and if the
    /// database does.
    pub async fn retract(&self, block: BlockInfo) -> Result<(), IndexError> {
        // The keys of other tables that name the block do the rest.
        let sql = "DELETE FROM blocks WHERE number = $1 AND hash = $2 \
                   AND number = (SELECT MAX(number) FROM blocks) \
                   AND number NOT IN (SELECT number FROM finality)";
        let query = sqlx::query::<Any>(sql).bind(i64::from(block.number)).bind(block.hash.to_vec());
        match query.execute(&self.pool).await?.rows_affected() {
            0 => Err(IndexError::NotLast { number: block.number }),
            _ => Ok(()),
        }
    }

    /// Notes that a block of the index and all before it are final. An earlier one than before
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the index does not have the block, and if the database does.
    pub async fn finalise(&self, number: BlockNumber) -> Result<(), IndexError> {
        let sql = "INSERT INTO finality (id, number) VALUES (1, $1) \
                   ON CONFLICT (id) DO UPDATE SET number = excluded.number \
                   WHERE finality.number < excluded.number";
        sqlx::query::<Any>(sql).bind(i64::from(number)).execute(&self.pool).await?;
        Ok(())
    }
}

fn read_block(row: &AnyRow) -> Result<BlockInfo, sqlx::Error> {
    let mut row = Reader::new(row);
    Ok(BlockInfo { number: Field::read(&mut row)?, hash: Field::read(&mut row)? })
}

/// Ends the states that blocks replace.
async fn end_states(
    transaction: &mut Transaction<'_, Any>,
    blocks: &[BlockFacts],
) -> Result<(), IndexError> {
    let mut ends = HashMap::<StateKey, BlockNumber>::new();
    for BlockFacts { block, rows, .. } in blocks {
        for key in rows.iter().filter_map(StoredRow::state_key) {
            ends.entry(key).or_insert(block.number);
        }
    }
    for ((table, column, key), end) in ends {
        let sql = format!("UPDATE {table} SET until = $1 WHERE {column} = $2 AND until IS NULL");
        let query = sqlx::query::<Any>(AssertSqlSafe(sql)).bind(i64::from(end));
        bind(query, key).execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Returns the rows of the blocks themselves.
fn block_rows(blocks: &[BlockFacts]) -> Batch {
    let columns = ["number", "hash", "parent", "time", "author"].map(str::to_owned).to_vec();
    Batch { columns, rows: blocks.iter().map(BlockFacts::block_row).collect() }
}

/// Returns the facts of blocks by their tables.
fn batches(blocks: &[BlockFacts]) -> BTreeMap<&'static str, Batch> {
    let (mut tables, mut next) = (BTreeMap::<_, Batch>::new(), HashMap::new());
    // From the last block on, so that the next state with the same key is known.
    for BlockFacts { block, rows, .. } in blocks.iter().rev() {
        for (item, row) in rows.iter().enumerate().rev() {
            let batch = tables.entry(row.table).or_default();
            if batch.columns.is_empty() {
                batch.columns = row.columns();
            }
            let item = i64::try_from(item).unwrap_or(i64::MAX);
            let mut values = vec![integer(block.number.into()), integer(item)];
            values.extend(row.values.iter().cloned());
            if let Some(key) = row.state_key() {
                let until = next.insert(key, i64::from(block.number));
                values.push(Value::Integer(until));
            }
            batch.rows.push(values);
        }
    }
    // Rows in the order of their key are written fastest.
    tables.values_mut().for_each(|batch| batch.rows.reverse());
    tables
}

fn integer(number: i64) -> Value {
    Value::Integer(Some(number))
}

impl BlockFacts {
    fn block_row(&self) -> Vec<Value> {
        let bytes = |hash: &[u8; 32]| Value::Bytes(Some(hash.to_vec()));
        vec![
            integer(self.block.number.into()),
            bytes(&self.block.hash),
            bytes(&self.parent),
            integer(i64::try_from(self.time).unwrap_or(i64::MAX)),
            Value::Bytes(self.author.map(|author| author.to_vec())),
        ]
    }
}

impl StoredRow {
    /// Returns the key of a state.
    fn state_key(&self) -> Option<StateKey> {
        Some((self.table, self.key?, self.values.first()?.clone()))
    }

    /// Returns the columns of its table, with those that name the block.
    fn columns(&self) -> Vec<String> {
        let position = ["block", "item"].map(str::to_owned).into_iter();
        let until = self.key.map(|_| "until".to_owned());
        position.chain((self.columns)()).chain(until).collect()
    }
}

/// Inserts rows, some with each statement.
async fn insert(
    transaction: &mut Transaction<'_, Any>,
    table: &str,
    Batch { columns, rows }: &Batch,
) -> Result<(), IndexError> {
    let width = columns.len();
    let row = |number: usize| {
        let parameters = (1..=width).map(|column| format!("${}", number * width + column));
        format!("({})", parameters.collect::<Vec<_>>().join(", "))
    };
    let columns = columns.join(", ");
    for rows in rows.chunks(ROWS) {
        let places: Vec<_> = (0..rows.len()).map(row).collect();
        let sql = format!("INSERT INTO {table} ({columns}) VALUES {}", places.join(", "));
        // Statements of other numbers of rows are seldom used again.
        let query = sqlx::query::<Any>(AssertSqlSafe(sql)).persistent(rows.len() == ROWS);
        let query = rows.iter().flatten().cloned().fold(query, bind);
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}
