// SPDX-License-Identifier: Apache-2.0

//! Replays of one validator in one audit.

use super::{
    case_work::{CaseResults, until_done},
    replay_input::{HeldInput, ReplayInput, ReplayRecords, RoundMeasure, audit_tag},
    retries::retried,
    tasks::{Stop, compute},
};
use crate::{
    blocking_blob::open_model,
    context::{NodeContext, Undelivered},
    data::{ShardReader, unless_malformed},
    error::{Result, RoleError, explain, note_full_disk},
    model::{head_before, hold_model, included_updates},
    state::AuditKey,
    strategy::Strategy,
};
use anyhow::anyhow;
use futures::future::{join_all, try_join, try_join_all};
use pol_chain::{AccountId, format_account};
use pol_engine::{LeaseData, MAX_PROBE_SEQUENCES, ScoreProbe, check_arithmetic};
use pol_primitives::{
    audit::{Audit, Binding, Case, Evidence, Finding, UpdateMeasurement},
    head::{Head, RoundRecord},
    recipe::{Numerics, Recipe},
    round::BlockNumber,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit, Semaphore};

/// Cases whose input is held in memory at a time.
const CONCURRENT_CASES: usize = 8;
/// Longest time in which a peer delivers its first bytes, or fails to: it is connected to, and
/// stalls. A try that the end of the time cuts off earlier blames nobody.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// Held-out sequences to draw from, beside the text that the audit names.
const HELD_OUT_SEQUENCES: usize = MAX_PROBE_SEQUENCES / 2;

/// Scheduler of the replays of all audits: a few cases are in memory at a time, and one replays.
pub(super) struct ReplayScheduler {
    loading: Arc<Semaphore>,
    replaying: Arc<Mutex<()>>,
    /// Blocks of the first tries to fetch the input of cases in stages.
    first_tries: Mutex<BTreeMap<(AuditKey, AccountId, BlockNumber), BlockNumber>>,
}

impl ReplayScheduler {
    /// Creates an idle scheduler.
    pub(super) fn new() -> Self {
        Self {
            loading: Arc::new(Semaphore::new(CONCURRENT_CASES)),
            replaying: Arc::default(),
            first_tries: Mutex::default(),
        }
    }

    /// Waits for a turn to have `input` in memory. Returns `None` if there is nothing to replay, so
    /// that a trainer which serves nothing to the end of the stage delays no other finding.
    async fn loading_turn(&self, input: &HeldInput) -> Result<Option<OwnedSemaphorePermit>> {
        if !matches!(input, HeldInput::Complete(_)) {
            return Ok(None);
        }
        self.loading.clone().acquire_owned().await.map(Some).map_err(RoleError::fatal)
    }

    /// Returns the block of the first try for the case of `trainer` in the stage that began in
    /// block `since`, which is `block` if there was none. A step that starts over goes on from it.
    async fn first_try(
        &self,
        audit: AuditKey,
        trainer: AccountId,
        since: BlockNumber,
        block: BlockNumber,
    ) -> BlockNumber {
        *self.first_tries.lock().await.entry((audit, trainer, since)).or_insert(block)
    }

    /// Notes that all input of the case of `trainer` was here. Should this machine lose some of it,
    /// no failure of a later try in `window` blames the trainer.
    async fn note_served(&self, audit: AuditKey, trainer: AccountId, window: FetchWindow) {
        let mut first_tries = self.first_tries.lock().await;
        first_tries.insert((audit, trainer, window.since), window.give_up);
    }

    /// Forgets the first tries of all audits but those in `open`.
    pub(super) async fn retain(&self, open: &BTreeSet<AuditKey>) {
        self.first_tries.lock().await.retain(|(audit, ..), _| open.contains(audit));
    }
}

/// The blocks in which the input of replays is fetched.
#[derive(Clone, Copy)]
pub(super) struct FetchWindow {
    /// First block of the stage.
    pub(super) since: BlockNumber,
    /// Block from which on input that is not here is given up.
    pub(super) give_up: BlockNumber,
}

impl FetchWindow {
    /// Returns the first half of the window.
    fn first_half(self) -> Self {
        Self { give_up: self.since + self.give_up.saturating_sub(self.since) / 2, ..self }
    }

    /// Returns `true` if tries from block `first` on fill most of the window. One try at its end
    /// says nothing about who is to blame.
    fn is_filled_from(self, first: BlockNumber) -> bool {
        self.give_up.saturating_sub(first) >= self.give_up.saturating_sub(self.since) / 2
            && self.give_up > first
    }
}

/// One try to fetch something.
struct Try {
    /// Time at which it began.
    begin: Instant,
    /// Deadline of the try.
    deadline: Instant,
    /// Set if the window ends with it.
    is_last: bool,
    /// Block at which it began.
    block: BlockNumber,
    /// Time to the next block, at which the next try begins.
    block_time: Duration,
}

impl Try {
    /// Returns `true` if its failure at `end` says who is at fault: peers failed before its time
    /// was over, or had enough of it.
    fn is_conclusive(&self, end: Instant) -> bool {
        end < self.deadline || self.deadline >= self.begin + ANSWER_TIME
    }
}

/// The seats of one validator in one audit.
#[derive(Clone)]
pub(super) struct ReplayJob<S> {
    /// Chain client and swarm.
    pub(super) context: NodeContext,
    /// The validator.
    pub(super) account: AccountId,
    /// Threads that replay.
    pub(super) workers: usize,
    /// Strategy of the validator.
    pub(super) strategy: S,
    /// Name of the audit.
    pub(super) key: AuditKey,
    /// The audit.
    pub(super) audit: Audit<AccountId>,
}

impl<S: Strategy> ReplayJob<S> {
    /// Returns the cases to replay and their places in the audit.
    fn cases(&self) -> Vec<(u8, Case<AccountId>)> {
        self.audit.seats_of(&self.account).map(|(at, case)| (at, case.clone())).collect()
    }

    /// Fetches the models that the audit needs while peers still keep them.
    pub(super) async fn keep_models(&self) -> Result<()> {
        let (context, audit, tag) = (&self.context, &self.audit, audit_tag(&self.key));
        let recipe = self.recipe().await?;
        let head = self.head_before().await?;
        hold_model(context, &head.root, &recipe, &[], &tag).await?;
        let place = audit.holder(&self.account);
        let has_seat =
            |case: &&Case<AccountId>| place.is_some_and(|place| case.seats.contains(&place));
        for case in audit.cases.iter().filter(has_seat) {
            let lease = context.chain.audited_lease(audit.round, &case.trainer).await?;
            if let Some(lease) = lease {
                hold_model(context, &lease.base_root, &recipe, &[case.trainer], &tag).await?;
            }
        }
        Ok(())
    }

    /// Replays all cases and adds each finding to `findings` once it is there. Those are left out
    /// whose input cannot be had though the trainer may not be to blame: about these this validator
    /// stays silent.
    ///
    /// The probe that measures the updates is fetched at the same time, in the first half of
    /// `window`. No replay waits for it: measurements are zero until they are made, and stay so if
    /// the probe cannot be had.
    pub(super) async fn gather_evidence(
        self,
        scheduler: Arc<ReplayScheduler>,
        window: FetchWindow,
        findings: CaseResults<Finding>,
    ) -> Result<()> {
        let started = Instant::now();
        let (recipe, cases) = (self.known_recipe().await?, self.cases());
        let measure = OnceCell::new();
        let fetch_measure = || {
            let fetch = || self.fetch_measure(&recipe, &scheduler, window.first_half());
            let what = self.failure("measure");
            measure.get_or_try_init(move || until_done(what, fetch))
        };
        let judge = cases.iter().map(async |(at, case)| {
            let replay = || self.replay_case(&recipe, case, &scheduler, window);
            let replayed = until_done(self.failure_of("replay", case), replay).await?;
            let Some((mut finding, records)) = replayed else { return Ok(()) };
            findings.extend([(*at, finding.clone())]);
            let Some(records) = records else { return Ok(()) };
            let Some(measure) = fetch_measure().await? else { return Ok(()) };
            let make = || self.measure_case(&records, measure, &scheduler);
            let made = until_done(self.failure_of("measure", case), make).await?;
            if let (Some(measurement), Some(made)) = (measurement_mut(&mut finding), made) {
                *measurement = made;
                findings.extend([(*at, finding)]);
            }
            Ok(())
        });
        try_join(fetch_measure(), try_join_all(judge)).await?;
        pol_metrics::validator().audit_duration_seconds.observe_since(started);
        Ok(())
    }

    /// Replays a case. Returns the finding, and the records of an update that is to be measured, or
    /// `None` to stay silent.
    async fn replay_case(
        &self,
        recipe: &Arc<Recipe>,
        case: &Case<AccountId>,
        scheduler: &ReplayScheduler,
        window: FetchWindow,
    ) -> Result<Option<(Finding, Option<ReplayRecords>)>> {
        let held = self.hold_input(recipe, case, scheduler, window).await?;
        let Some(held) = held else { return Ok(None) };
        let (strategy, judged) = (self.strategy.clone(), case.clone());
        let (seed, workers) = (self.audit.seed, self.workers);
        let find = move |input: ReplayInput, stop: &Stop| {
            let mut is_replayed = false;
            let replay = || {
                let mut finding = input.finding(&seed, workers, stop)?;
                is_replayed = measurement_mut(&mut finding).is_some();
                Ok(finding)
            };
            let finding = strategy.audit_finding(&judged, replay)?;
            Ok((finding, is_replayed))
        };
        let (finding, is_replayed) = self.with_input(&held, scheduler, find).await?;
        Ok(Some((finding, held.into_records().filter(|_| is_replayed))))
    }

    /// Measures a replayed update, or returns `None` if it is not among those of the round.
    async fn measure_case(
        &self,
        records: &ReplayRecords,
        measure: &Arc<RoundMeasure>,
        scheduler: &ReplayScheduler,
    ) -> Result<Option<UpdateMeasurement>> {
        let Some(place) = records.place_in(measure) else { return Ok(None) };
        let turn = scheduler.loading.clone().acquire_owned().await.map_err(RoleError::fatal)?;
        let replaying = scheduler.replaying.clone().lock_owned().await;
        // Read once no other update or replay is in memory.
        let Some(update) = records.update(&self.loading_context()).await? else { return Ok(None) };
        let (measure, workers) = (measure.clone(), self.workers);
        compute(move |_| {
            let _guards = (turn, replaying);
            update.measure(&measure, place, workers).map(Some)
        })
        .await
    }

    /// Checks the ends that trainers opened since this validator committed to `evidence`, and adds
    /// a result for each of its findings to `bindings`: [`Binding::Unchecked`] until it is checked.
    /// There are none under the exact profile.
    pub(super) async fn check_bindings(
        self,
        evidence: &Evidence,
        scheduler: Arc<ReplayScheduler>,
        window: FetchWindow,
        bindings: CaseResults<Binding>,
    ) -> Result<()> {
        let (recipe, mut cases) = (self.known_recipe().await?, self.cases());
        if recipe.numerics == Numerics::Exact {
            return Ok(());
        }
        cases.retain(|(at, _)| evidence.iter().any(|(judged, _)| judged == at));
        bindings.extend(cases.iter().map(|(at, _)| (*at, Binding::Unchecked)));
        // The chain does not use the binding of a case without opened ends.
        cases.retain(|(_, case)| case.opened);
        let check = cases.iter().map(async |(at, case)| {
            let check = || self.check_case(&recipe, case, &scheduler, window);
            let checked = until_done(self.failure_of("check", case), check).await?;
            bindings.extend(checked.map(|binding| (*at, binding)));
            Ok::<_, RoleError>(())
        });
        try_join_all(check).await.map(drop)
    }

    /// Checks the opened ends of a case, or returns `None` to stay silent.
    async fn check_case(
        &self,
        recipe: &Arc<Recipe>,
        case: &Case<AccountId>,
        scheduler: &ReplayScheduler,
        window: FetchWindow,
    ) -> Result<Option<Binding>> {
        let held = self.hold_input(recipe, case, scheduler, window).await?;
        let Some(held) = held else { return Ok(None) };
        let (seed, workers) = (self.audit.seed, self.workers);
        let check = move |input: ReplayInput, stop: &Stop| input.binding(&seed, workers, stop);
        self.with_input(&held, scheduler, check).await.map(Some)
    }

    /// Says that `work` on the updates failed for now.
    fn failure(&self, work: &str) -> String {
        format!("round {}: cannot {work} updates yet", self.audit.round)
    }

    /// Says that `work` on the update of a case failed for now.
    fn failure_of(&self, work: &str, case: &Case<AccountId>) -> String {
        let (round, trainer) = (self.audit.round, format_account(&case.trainer));
        format!("round {round}: cannot {work} the update of {trainer} yet")
    }

    /// Returns the next try to fetch something within `window`.
    async fn next_try(&self, window: FetchWindow) -> Result<Try> {
        let chain = &self.context.chain;
        let block = retried(|| chain.overview()).await?.now;
        let block_time = retried(|| chain.block_time()).await?;
        let left = window.give_up.saturating_sub(block);
        let begin = Instant::now();
        let deadline = begin + block_time.saturating_mul(left.max(1));
        Ok(Try { begin, deadline, is_last: left == 0, block, block_time })
    }

    /// Fetches the input of `case` until the end of `window`. Input that no peer serves is then
    /// missing, which is the trainer's fault, or `None` if this machine may be at fault.
    async fn hold_input(
        &self,
        recipe: &Arc<Recipe>,
        case: &Case<AccountId>,
        scheduler: &ReplayScheduler,
        window: FetchWindow,
    ) -> Result<Option<HeldInput>> {
        let (round, trainer) = (self.audit.round, format_account(&case.trainer));
        if let Err(error) = check_arithmetic(recipe) {
            tracing::warn!("round {round}: staying silent about {trainer}: {error}");
            return Ok(None);
        }
        // By the last try that says something.
        let mut is_at_fault = false;
        loop {
            let now = self.next_try(window).await?;
            let first = scheduler.first_try(self.key, case.trainer, window.since, now.block).await;
            let context = self.context.until(now.deadline);
            let held = HeldInput::fetch(&context, recipe, &self.key, round, case).await;
            let error = match held {
                Err(RoleError::Transient(error)) => error,
                held => {
                    scheduler.note_served(self.key, case.trainer, window).await;
                    return held.map(Some);
                }
            };
            if !note_full_disk(&error) {
                tracing::warn!("round {round}: cannot replay {trainer} yet: {}", explain(&error));
            }
            if now.is_conclusive(Instant::now()) {
                is_at_fault = self.is_fault_of(&case.trainer, &error, now.begin).await?;
            }
            if now.is_last {
                if is_at_fault && window.is_filled_from(first) {
                    return Ok(Some(HeldInput::Missing));
                }
                tracing::warn!(
                    "round {round}: staying silent about {trainer}, since this machine may be \
                     the one that is cut off"
                );
                return Ok(None);
            }
            tokio::time::sleep(now.block_time).await;
        }
    }

    /// Returns `true` if a try since `begin` that ended in `error` failed by the trainer's fault.
    /// It has to have reached another peer, or this machine may have been cut off at that time.
    async fn is_fault_of(
        &self,
        trainer: &AccountId,
        error: &anyhow::Error,
        begin: Instant,
    ) -> Result<bool> {
        let undelivered = error.downcast_ref::<Undelivered>();
        if !undelivered.is_some_and(|undelivered| undelivered.is_fault_of(trainer)) {
            return Ok(false);
        }
        retried(|| self.context.has_reached_others(begin, trainer)).await
    }

    /// Returns the result of `work` on `input`, on a thread that may compute.
    async fn with_input<T: Send + 'static>(
        &self,
        input: &HeldInput,
        scheduler: &ReplayScheduler,
        work: impl FnOnce(ReplayInput, &Stop) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = scheduler.loading_turn(input).await?;
        let input = input.load(&self.loading_context()).await?;
        let replaying = match turn {
            Some(_) => Some(scheduler.replaying.clone().lock_owned().await),
            None => None,
        };
        compute(move |stop| {
            let _guards = (turn, replaying);
            work(input, stop)
        })
        .await
    }

    /// Returns a context for input that was here before. Should some be lost since, others that
    /// wait for the turn do not wait for it long.
    fn loading_context(&self) -> NodeContext {
        self.context.until(Instant::now() + ANSWER_TIME)
    }

    /// Returns the record of the round.
    async fn record(&self) -> Result<RoundRecord<AccountId>> {
        let round = self.audit.round;
        let record = self.context.chain.round_record(round).await?;
        record
            .ok_or_else(|| RoleError::transient(anyhow!("the node has no record of round {round}")))
    }

    /// Returns the recipe of the round, once the node knows it.
    async fn known_recipe(&self) -> Result<Arc<Recipe>> {
        until_done(self.failure("audit"), || self.recipe()).await.map(Arc::new)
    }

    /// Returns the recipe of the round.
    async fn recipe(&self) -> Result<Recipe> {
        let round = self.audit.round;
        let head = self.record().await?.head.ok_or_else(|| {
            RoleError::transient(anyhow!("the node has no head of round {round}"))
        })?;
        self.context.recipe(&head.recipe_hash).await
    }

    /// Returns the head before the round.
    async fn head_before(&self) -> Result<Head> {
        let round = self.audit.round;
        let head = head_before(&self.context, round).await?;
        head.ok_or_else(|| RoleError::transient(anyhow!("there is no model before round {round}")))
    }

    /// Returns what the round's updates are measured with, or `None` if it cannot be had within
    /// `window`. Without it, replays are compared all the same.
    async fn fetch_measure(
        &self,
        recipe: &Arc<Recipe>,
        scheduler: &ReplayScheduler,
        window: FetchWindow,
    ) -> Result<Option<Arc<RoundMeasure>>> {
        if check_arithmetic(recipe).is_err() {
            return Ok(None);
        }
        loop {
            let now = self.next_try(window).await?;
            let mut job = self.clone();
            job.context = self.context.until(now.deadline);
            let mut shards = ShardReader::new(job.context.clone());
            match job.try_measure(&mut shards, recipe, scheduler, now.is_last).await {
                Ok(measure) => return Ok(Some(Arc::new(measure))),
                Err(RoleError::Transient(error)) if note_full_disk(&error) => {}
                Err(RoleError::Transient(error)) => tracing::warn!(
                    "round {}: cannot measure updates yet: {}",
                    self.audit.round,
                    explain(&error)
                ),
                Err(fatal) => return Err(fatal),
            }
            if now.is_last {
                return Ok(None);
            }
            tokio::time::sleep(now.block_time).await;
        }
    }

    /// Returns the gradient of the round on its probe, from the head before it and the updates that
    /// it included.
    async fn try_measure(
        &self,
        shards: &mut ShardReader,
        recipe: &Arc<Recipe>,
        scheduler: &ReplayScheduler,
        is_last: bool,
    ) -> Result<RoundMeasure> {
        let (head, tag) = (retried(|| self.head_before()).await?, audit_tag(&self.key));
        hold_model(&self.context, &head.root, recipe, &[], &tag).await?;
        let record = self.record().await?;
        let updates = included_updates(&self.context, recipe, self.audit.round, &record).await?;
        let accounts = updates.iter().map(|included| included.update.account).collect();
        let texts = self.probe_texts(shards, recipe, is_last).await?;
        let (recipe, seed, workers) = (recipe.clone(), self.audit.seed, self.workers);
        let context = self.context.clone();
        let replaying = scheduler.replaying.clone().lock_owned().await;
        compute(move |stop| {
            let _replaying = replaying;
            let mut head = open_model(&context.swarm, &head.root, &recipe)?;
            let probe = ScoreProbe::new_unless(
                &recipe,
                |values: &mut [f32]| head.read(values),
                &updates,
                &seed,
                &texts,
                workers,
                || stop.is_requested(),
            );
            // A head that is damaged explains whatever went wrong with it.
            head.finish(recipe.model.size() as usize)?;
            Ok(RoundMeasure::new(probe?, accounts, &context.state))
        })
        .await
    }

    /// Returns the text that the audit names, and held-out text. Malformed shards are left out in
    /// every try, and so by every seat. The last try does without shards that cannot be had.
    async fn probe_texts(
        &self,
        shards: &mut ShardReader,
        recipe: &Recipe,
        is_last: bool,
    ) -> Result<Vec<LeaseData>> {
        let (mut tokens, tag) = (Vec::new(), &audit_tag(&self.key));
        // At the same time, so that one that no peer serves does not hold up the others.
        let read = join_all(self.audit.probe.iter().map(async |id| {
            let mut shards = ShardReader::new(self.context.clone());
            unless_malformed(shards.shard(recipe, *id, &[], tag).await)
        }));
        for read in read.await {
            match read {
                Ok(shard) => tokens.extend(shard),
                Err(RoleError::Transient(error)) if is_last => {
                    tracing::debug!("measuring without a shard: {}", explain(&error));
                }
                Err(error) => return Err(error),
            }
        }
        let mut texts = Vec::new();
        if !tokens.is_empty() {
            texts.push(LeaseData::new(recipe, tokens)?);
        }
        match shards.held_out(recipe, HELD_OUT_SEQUENCES, Some(&self.audit.seed)).await {
            Ok(held_out) => texts.extend(held_out),
            Err(RoleError::Transient(error)) if is_last => {
                tracing::debug!("measuring without held-out text: {}", explain(&error));
            }
            Err(error) => return Err(error),
        }
        Ok(texts)
    }
}

/// Returns the measurement of a finding that has one.
fn measurement_mut(finding: &mut Finding) -> Option<&mut UpdateMeasurement> {
    match finding {
        Finding::Replayed { measure, .. } | Finding::Sketched { measure, .. } => Some(measure),
        Finding::Impossible | Finding::Unavailable => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_takes_tries_over_most_of_the_window() {
        let window = FetchWindow { since: 100, give_up: 175 };
        assert!(window.is_filled_from(100) && window.is_filled_from(138));
        assert!(!window.is_filled_from(139) && !window.is_filled_from(175));
        assert!(!FetchWindow { since: 100, give_up: 100 }.is_filled_from(100));
        assert_eq!(window.first_half().give_up, 137);
    }

    #[test]
    fn a_try_that_is_soon_cut_off_blames_nobody() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let is_conclusive = |lasts, end| {
            let (deadline, block_time) = (after(lasts), Duration::from_secs(3));
            let one = Try { begin, deadline, is_last: true, block: 1, block_time };
            one.is_conclusive(after(end))
        };
        assert!(!is_conclusive(3, 3) && !is_conclusive(14, 14));
        assert!(is_conclusive(3, 2), "all peers failed before");
        assert!(is_conclusive(15, 15) && is_conclusive(200, 200));
    }

    #[tokio::test]
    async fn input_that_is_missing_waits_for_no_turn() {
        let scheduler = ReplayScheduler::new();
        let busy = scheduler.loading.clone().acquire_many_owned(CONCURRENT_CASES as u32).await;
        for input in [HeldInput::Missing, HeldInput::Untrainable] {
            let turn =
                tokio::time::timeout(Duration::from_secs(10), scheduler.loading_turn(&input));
            assert!(turn.await.unwrap().unwrap().is_none());
        }
        drop(busy);
    }

    #[tokio::test]
    async fn a_step_that_starts_over_goes_on_from_its_first_try() {
        let (scheduler, trainer) = (ReplayScheduler::new(), [1; 32]);
        let keys = [1, 2].map(audit_key);
        let first = scheduler.first_try(keys[0], trainer, 100, 101).await;
        assert_eq!(first, 101);
        assert_eq!(scheduler.first_try(keys[0], trainer, 100, 120).await, first);
        for (key, trainer, since) in
            [(keys[1], trainer, 100), (keys[0], [2; 32], 100), (keys[0], trainer, 140)]
        {
            assert_eq!(scheduler.first_try(key, trainer, since, 141).await, 141);
        }
        scheduler.retain(&BTreeSet::from([keys[1]])).await;
        assert_eq!(scheduler.first_try(keys[0], trainer, 100, 150).await, 150);
        assert_eq!(scheduler.first_try(keys[1], trainer, 100, 150).await, 141);
    }

    #[tokio::test]
    async fn input_that_was_served_and_lost_here_blames_nobody() {
        let (scheduler, trainer, key) = (ReplayScheduler::new(), [1; 32], audit_key(1));
        let window = FetchWindow { since: 100, give_up: 175 };
        let first = async || scheduler.first_try(key, trainer, window.since, 101).await;
        assert!(window.is_filled_from(first().await));
        scheduler.note_served(key, trainer, window).await;
        assert!(!window.is_filled_from(first().await));
        let later = FetchWindow { since: 200, give_up: 215 };
        let first = scheduler.first_try(key, trainer, later.since, 201).await;
        assert!(later.is_filled_from(first), "another stage has input of its own");
    }

    fn audit_key(id: u32) -> AuditKey {
        format!("{id}-{}", "00".repeat(32)).parse().unwrap()
    }
}
