// SPDX-License-Identifier: Apache-2.0

//! Answers that take more than one table, and sums.

use crate::{
    Index, IndexError,
    facts::{Commit, Fact, Lease, PaymentKind, Reveal, RewardSource, Settlement},
    query::{Page, Position, Range, Row, read_row},
    value::{Field, Reader, Value},
};
use pol_chain::AccountId;
use pol_primitives::{Balance, RoundNumber, data::ManifestId};
use sqlx::any::AnyRow;

/// Selection of updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updates {
    /// Due in a round.
    Round(RoundNumber),
    /// Of a trainer.
    Account(AccountId),
    /// Of a trainer, due in a round.
    AccountRound(AccountId, RoundNumber),
}

/// Update of a trainer, from its lease to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Lease of its shards.
    pub lease: Row<Lease>,
    /// Commitment.
    pub commit: Option<Commit>,
    /// Reveal.
    pub reveal: Option<Reveal>,
    /// End.
    pub settlement: Option<Settlement>,
    /// Amount that the trainer lost for it.
    pub slashed: Balance,
}

/// Rewards of an account for one kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewardSum {
    /// Work.
    pub source: RewardSource,
    /// Number of rewards.
    pub rewards: u64,
    /// Sum of the rewards.
    pub amount: Balance,
}

/// Shards of a manifest that the model was trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumption {
    /// Number of shards.
    pub shards: u64,
    /// Sum of the improvements, in billionths of a nat per token.
    pub effect: i64,
}

/// Sums of whole tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Emissions of all rounds.
    pub emitted: Balance,
    /// Fines that were seized from bonds and burned.
    pub seized: Balance,
    /// Rewards that were claimed, and the treasury's share.
    pub paid: Balance,
    /// Rewards that nobody earned or claimed or that were forfeited, and fines.
    pub burned: Balance,
    /// Bonds that were burned without passing through the pot of rewards.
    pub slashed: Balance,
    /// Present balances of all accounts.
    pub balances: Balance,
}

impl Updates {
    /// Returns the columns and their values.
    fn conditions(&self) -> Vec<(&'static str, Value)> {
        let mut values = Vec::with_capacity(2);
        let columns: &[&str] = match self {
            Self::Round(round) => {
                Field::write(Some(round), &mut values);
                &["round"]
            }
            Self::Account(account) => {
                Field::write(Some(account), &mut values);
                &["account"]
            }
            Self::AccountRound(account, round) => {
                Field::write(Some(account), &mut values);
                Field::write(Some(round), &mut values);
                &["account", "round"]
            }
        };
        columns.iter().copied().zip(values).collect()
    }
}

/// Returns the columns of a table, by the name that a statement gives it.
fn columns_of<F: Fact>(name: &str) -> String {
    F::columns().iter().map(|column| format!(", {name}.{column}")).collect()
}

/// Returns the join of a table whose rows are of the update of `f`.
fn join_of<F: Fact>(name: &str) -> String {
    let table = F::TABLE;
    format!(" LEFT JOIN {table} {name} ON {name}.round = f.round AND {name}.account = f.account")
}

/// Reads a joined fact.
fn read_joined<F: Fact>(reader: &mut Reader<'_>) -> Result<Option<F>, sqlx::Error> {
    if reader.is_null()? {
        reader.skip(F::WIDTH);
        return Ok(None);
    }
    F::read(reader).map(Some)
}

fn read_update(row: &AnyRow) -> Result<Update, sqlx::Error> {
    let mut reader = Reader::new(row);
    Ok(Update {
        lease: read_row(&mut reader)?,
        commit: read_joined(&mut reader)?,
        reveal: read_joined(&mut reader)?,
        settlement: read_joined(&mut reader)?,
        slashed: Field::read(&mut reader)?,
    })
}

/// Returns the sum of an amount's columns.
pub(crate) fn sum_of(amount: &str) -> String {
    let sum = |part| format!("CAST(COALESCE(SUM({amount}_{part}), 0) AS BIGINT)");
    format!("{}, {}", sum("pol"), sum("units"))
}

/// Reads that join or sum. They fail only if the database does.
impl Index {
    /// Returns a page of updates, in the order of their leases.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn updates(
        &self,
        updates: Updates,
        range: Range,
    ) -> Result<Page<Update>, IndexError> {
        let conditions = updates.conditions();
        let equal = (1..).zip(&conditions);
        let equal: String =
            equal.map(|(at, (column, _))| format!("f.{column} = ${at} AND ")).collect();
        let lost = |part| {
            format!(
                ", (SELECT CAST(COALESCE(SUM(amount_{part}), 0) AS BIGINT) FROM penalties p \
                 WHERE p.round = f.round AND p.account = f.account)"
            )
        };
        let sql = format!(
            "SELECT f.block, f.item, (SELECT time FROM blocks WHERE number = f.block){}{}{}{}{}{} \
             FROM leases f{}{}{} WHERE {equal}{}",
            columns_of::<Lease>("f"),
            columns_of::<Commit>("c"),
            columns_of::<Reveal>("r"),
            columns_of::<Settlement>("s"),
            lost("pol"),
            lost("units"),
            join_of::<Commit>("c"),
            join_of::<Reveal>("r"),
            join_of::<Settlement>("s"),
            range.clause(conditions.len() + 1)
        );
        let values = conditions.into_iter().map(|(_, value)| value).chain(range.values());
        let rows = self.select(sql, values).await?;
        let updates: Result<Vec<_>, _> = rows.iter().map(read_update).collect();
        Ok(range.page(updates?, |update| -> Position { update.lease.at }))
    }

    /// Returns the sums of an account's rewards by kind of work.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn reward_sums(&self, account: &AccountId) -> Result<Vec<RewardSum>, IndexError> {
        let sql = format!(
            "SELECT source, COUNT(*), {} FROM rewards WHERE account = $1 GROUP BY source \
             ORDER BY source",
            sum_of("amount")
        );
        let rows = self.select(sql, [Value::Bytes(Some(account.to_vec()))]).await?;
        let read = |row| {
            let mut row = Reader::new(row);
            Ok::<_, sqlx::Error>(RewardSum {
                source: Field::read(&mut row)?,
                rewards: Field::read(&mut row)?,
                amount: Field::read(&mut row)?,
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Returns the shards of a manifest that the model was trained on, as sums.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn consumption(&self, manifest: ManifestId) -> Result<Consumption, IndexError> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(delta), 0) AS BIGINT) FROM shards \
                   WHERE manifest = $1";
        let values = [Value::Integer(Some(manifest.into()))];
        let rows = self.select(sql.to_owned(), values).await?;
        let read = |row| {
            let mut row = Reader::new(row);
            let (shards, effect) = (Field::read(&mut row)?, Field::read(&mut row)?);
            Ok::<_, sqlx::Error>(Consumption { shards, effect })
        };
        Ok(rows.first().map(read).transpose()?.unwrap_or_default())
    }

    /// Returns the sums of whole tables, by which the index is compared with the chain. It reads
    /// all their rows, so that it is not for pages.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub async fn sums(&self) -> Result<Sums, IndexError> {
        let sum = async |amount: &str, table: &str, filter: &str| {
            let sql = format!("SELECT {} FROM {table} WHERE {filter}", sum_of(amount));
            let rows = self.select(sql, []).await?;
            let read = |row| Balance::read(&mut Reader::new(row));
            Ok::<_, IndexError>(rows.first().map(read).transpose()?.unwrap_or(0))
        };
        let all = "block >= 0";
        let mut emitted: Balance = 0;
        for share in ["trainers", "validators", "providers", "treasury"] {
            emitted = emitted.saturating_add(sum(share, "emissions", all).await?);
        }
        let claimed = crate::value::name(&PaymentKind::Claimed).unwrap_or_default();
        let payments = async |comparison: &str| {
            sum("amount", "payments", &format!("kind {comparison} '{claimed}'")).await
        };
        let treasury = sum("treasury", "emissions", all).await?;
        let unearned = sum("unearned", "settled_rounds", all).await?;
        let seized = sum("amount", "penalties", "seized = 1").await?;
        let present = "until IS NULL";
        let free = sum("free", "balances", present).await?;
        Ok(Sums {
            emitted,
            seized,
            paid: payments("=").await?.saturating_add(treasury),
            burned: payments("<>").await?.saturating_add(unearned).saturating_add(seized),
            slashed: sum("amount", "penalties", "seized = 0").await?,
            balances: free.saturating_add(sum("held", "balances", present).await?),
        })
    }
}
