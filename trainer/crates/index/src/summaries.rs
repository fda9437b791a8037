// SPDX-License-Identifier: Apache-2.0

//! Counts and sums of parts of tables.

use crate::{
    Consumption, Index, IndexError, MAX_PAGE,
    facts::{AuditStepKind, RewardSource},
    reports::sum_of,
    value::{Field, Reader, Value},
};
use pol_chain::AccountId;
use pol_primitives::{
    Balance, RoundNumber,
    audit::AuditId,
    data::{ManifestId, ShardId},
    round::BlockNumber,
};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// Statements with an index each, without those that read a whole table.
#[cfg(test)]
pub(crate) const STATEMENTS: [fn() -> String; 5] =
    [authors, extrinsic_counts, earnings, penalty_sum, || audit_step_counts(2)];

/// Rewards of an account for one kind of work in several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earning {
    /// Account.
    pub account: AccountId,
    /// Work.
    pub source: RewardSource,
    /// Sum of the rewards.
    pub amount: Balance,
}

fn authors() -> String {
    "SELECT author, COUNT(*) FROM blocks b WHERE b.number >= $1 AND author IS NOT NULL \
     GROUP BY author"
        .to_owned()
}

fn extrinsic_counts() -> String {
    "SELECT e.block, COUNT(*) FROM extrinsics e WHERE e.block >= $1 AND e.block <= $2 \
     GROUP BY e.block"
        .to_owned()
}

fn earnings() -> String {
    format!(
        "SELECT r.account, r.source, {} FROM rewards r WHERE r.round >= $1 AND r.round <= $2 \
         GROUP BY r.account, r.source",
        sum_of("r.amount")
    )
}

fn penalty_sum() -> String {
    format!("SELECT {} FROM penalties p WHERE p.account = $1", sum_of("p.amount"))
}

fn audit_step_counts(audits: usize) -> String {
    let places: Vec<_> = (1..=audits).map(|place| format!("${place}")).collect();
    format!(
        "SELECT s.audit, s.kind, COUNT(*) FROM audit_steps s WHERE s.audit IN ({}) \
         GROUP BY s.audit, s.kind",
        places.join(", ")
    )
}

fn integer(number: impl Into<i64>) -> Value {
    Value::Integer(Some(number.into()))
}

/// Reads two fields of a row.
fn pair<A: Field, B: Field>(row: &AnyRow) -> Result<(A, B), sqlx::Error> {
    let mut row = Reader::new(row);
    Ok((Field::read(&mut row)?, Field::read(&mut row)?))
}

/// Counts and sums. They fail only if the database does.
impl Index {
    /// Returns the authors of the blocks from a height on, with the numbers of their blocks.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn authors(&self, from: BlockNumber) -> Result<Vec<(AccountId, u64)>, IndexError> {
        let rows = self.select(authors(), [integer(from)]).await?;
        Ok(rows.iter().map(pair).collect::<Result<_, _>>()?)
    }

    /// Returns the numbers of extrinsics of the blocks between two heights, without those that
    /// have none.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn extrinsic_counts(
        &self,
        from: BlockNumber,
        to: BlockNumber,
    ) -> Result<Vec<(BlockNumber, u32)>, IndexError> {
        let rows = self.select(extrinsic_counts(), [integer(from), integer(to)]).await?;
        Ok(rows.iter().map(pair).collect::<Result<_, _>>()?)
    }

    /// Returns the sums of the rewards of all accounts in the rounds from `from` to `to`.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn earnings(
        &self,
        from: RoundNumber,
        to: RoundNumber,
    ) -> Result<Vec<Earning>, IndexError> {
        let rows = self.select(earnings(), [integer(from), integer(to)]).await?;
        let read = |row| {
            let mut row = Reader::new(row);
            Ok::<_, sqlx::Error>(Earning {
                account: Field::read(&mut row)?,
                source: Field::read(&mut row)?,
                amount: Field::read(&mut row)?,
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Returns the sum of an account's penalties.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn penalty_sum(&self, account: &AccountId) -> Result<Balance, IndexError> {
        let rows = self.select(penalty_sum(), [Value::Bytes(Some(account.to_vec()))]).await?;
        let read = |row| Balance::read(&mut Reader::new(row));
        Ok(rows.first().map(read).transpose()?.unwrap_or(0))
    }

    /// Returns the numbers of steps of audits by their kinds, of the first [`MAX_PAGE`] audits.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn audit_step_counts(
        &self,
        audits: &[AuditId],
    ) -> Result<Vec<(AuditId, AuditStepKind, u64)>, IndexError> {
        let audits = audits.iter().take(MAX_PAGE as usize);
        let values: Vec<_> = audits.map(|audit| integer(*audit)).collect();
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.select(audit_step_counts(values.len()), values).await?;
        let read = |row| {
            let mut row = Reader::new(row);
            Ok::<_, sqlx::Error>((
                Field::read(&mut row)?,
                Field::read(&mut row)?,
                Field::read(&mut row)?,
            ))
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Returns the numbers of shards in leases whose updates are not settled, by manifest. It reads
    /// an entry for each lease, so that it is not for pages.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn leased_shards(&self) -> Result<BTreeMap<ManifestId, u64>, IndexError> {
        let sql = "SELECT l.shards FROM leases l WHERE NOT EXISTS (SELECT 1 FROM settlements s \
                   WHERE s.round = l.round AND s.account = l.account)";
        let mut leased = BTreeMap::new();
        for row in &self.select(sql.to_owned(), []).await? {
            for shard in Vec::<ShardId>::read(&mut Reader::new(row))? {
                *leased.entry(shard.manifest).or_default() += 1;
            }
        }
        Ok(leased)
    }

    /// Returns the consumed shards of all manifests, as sums. It reads an entry for each shard, so
    /// that it is not for pages.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn consumptions(&self) -> Result<Vec<(ManifestId, Consumption)>, IndexError> {
        let sql = "SELECT manifest, COUNT(*), CAST(COALESCE(SUM(delta), 0) AS BIGINT) FROM shards \
                   GROUP BY manifest ORDER BY manifest";
        let rows = self.select(sql.to_owned(), []).await?;
        let read = |row| {
            let mut row = Reader::new(row);
            let manifest = Field::read(&mut row)?;
            let (shards, effect) = (Field::read(&mut row)?, Field::read(&mut row)?);
            Ok::<_, sqlx::Error>((manifest, Consumption { shards, effect }))
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }
}
