// SPDX-License-Identifier: Apache-2.0

//! A provider's service: data are registered and served, and sources are drawn from as long as the
//! network runs low on text.

use super::{
    super::{
        membership,
        registration::{Registrar, Registration, RegistrationError, check_tokens},
    },
    Stop,
    collect::{Collector, Ended, Outcome},
    config::{Config, Kind, SourceConfig, TOKEN_BYTES},
    demand::{Demand, Offer, Supply},
    events::Events,
    provider_config::ProviderConfig,
    state::{ChainRecord, SourceState, batch_folder},
    watcher::Watcher,
};
use crate::{
    context::NodeContext,
    display::format_amount,
    error::explain,
    options::{KeyOptions, NodeOptions},
    roles,
};
use anyhow::{Context, Result};
use pol_chain::{ChainError, Signer};
use pol_data::IngestRecord;
use pol_primitives::{
    Balance,
    data::{ManifestId, ManifestStatus},
    member::Role,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time};

/// Time without a look at the chain after which the node counts as away.
const AWAY_AFTER: Duration = Duration::from_secs(60);
/// Number of times that a registration is tried again after the node was away.
const REGISTRATION_RETRIES: u32 = 3;
/// Time between two looks at the supply of kinds that are not drawn from.
const SUPPLY_INTERVAL: Duration = Duration::from_secs(5);

/// A provider in the network.
pub(super) struct Provider<'a> {
    config: &'a Config,
    options: ProviderConfig,
    context: NodeContext,
    signer: Signer,
    /// First block of the chain, in hexadecimal.
    chain_name: String,
    events: Events,
    stop: Stop,
    supply: watch::Receiver<Option<Supply>>,
    state: Mutex<ProviderState>,
}

/// Manifests that the provider registered, and the kinds of which the network has enough.
#[derive(Default)]
struct ProviderState {
    offers: BTreeMap<ManifestId, Offer>,
    demand: Demand,
    /// The deposit budget is used up.
    is_spent: bool,
}

impl<'a> Provider<'a> {
    /// Joins the network, and serves all data that are sealed. The task watches the chain, and ends
    /// if a person has to act.
    pub(super) async fn start(
        config: &'a Config,
        node: &NodeOptions,
        key: &KeyOptions,
        events: Events,
        stop: Stop,
    ) -> Result<(Self, JoinHandle<Result<()>>)> {
        let options = config.provider.clone().unwrap_or_default();
        let signer = key.signer()?;
        let base_path = options.base_path.as_deref();
        let (context, first_block) =
            membership::start(&signer, node, &options.swarm(), base_path).await?;
        let tokenizer = fs::read(&config.tokenizer)
            .with_context(|| format!("cannot read {}", config.tokenizer.display()))?;
        let tokenizer = *blake3::hash(&tokenizer).as_bytes();
        check_tokens(&context.chain, &tokenizer, config.shard_tokens).await?;
        if options.serve {
            membership::join(&context, &signer, Role::Trainer).await?;
        }
        let chain_name = hex::encode(first_block);
        let (sender, supply) = watch::channel(None);
        fs::create_dir_all(&config.out)
            .with_context(|| format!("cannot create {}", config.out.display()))?;
        let mut watcher = Watcher::new(
            context.clone(),
            signer.clone(),
            events,
            config.out.clone(),
            &chain_name,
            sender,
        )?;
        let watched = context.clone();
        let watching =
            tokio::spawn(async move { roles::run(&watched, &first_block, &mut watcher).await });
        tokio::spawn(tell_absences(supply.clone(), events));
        let provider = Self {
            config,
            options,
            context,
            signer,
            chain_name,
            events,
            stop,
            supply,
            state: Mutex::default(),
        };
        provider.introduce().await?;
        for source in &config.sources {
            provider.serve_sealed(source).await?;
        }
        Ok((provider, watching))
    }

    async fn introduce(&self) -> Result<()> {
        let (account, deposits) = (self.signer.ss58(), self.deposits().await?);
        let fields = json!({ "account": account, "deposits": deposits.to_string() });
        self.events.print("provider", fields, || {
            format!("registering as {account}, with deposits of {} now", format_amount(deposits))
        });
        Ok(())
    }

    /// Bytes of text after which a source's data are full.
    pub(super) fn batch_bytes(&self) -> u64 {
        let tokens = u64::from(self.options.max_shards) * u64::from(self.config.shard_tokens);
        tokens.saturating_mul(TOKEN_BYTES)
    }

    /// Draws from a source, and offers what it has to the network, as long as that runs low.
    pub(super) async fn provide(
        &self,
        collector: &Collector<'_>,
        source: &SourceConfig,
    ) -> Outcome {
        loop {
            let mut outcome = Outcome::new(source);
            match self.register_sealed(source).await {
                Ok(()) if self.stop.is_set() => return outcome,
                Ok(()) => {}
                Err(error) => {
                    outcome.error = Some(explain(&error));
                    return outcome;
                }
            }
            match self.wants(source.kind).await {
                Ok(true) => {}
                Ok(false) => {
                    outcome.ended = Some(Ended::Held);
                    return outcome;
                }
                Err(error) => {
                    outcome.error = Some(explain(&error));
                    return outcome;
                }
            }
            let mut outcome = collector.collect(source).await;
            if self.is_due(&outcome)
                && let Err(error) = self.offer(source, &mut outcome).await
            {
                outcome.error.get_or_insert(explain(&error));
            }
            if outcome.ended != Some(Ended::Full) || outcome.error.is_some() {
                return outcome;
            }
            if outcome.print(self.events.is_json()).is_err() {
                return outcome;
            }
        }
    }

    /// Returns `true` if the data of a source are to be offered now: they are complete, or large
    /// enough.
    fn is_due(&self, outcome: &Outcome) -> bool {
        let Some(data) = outcome.data.as_ref().filter(|_| outcome.inputs.is_some()) else {
            return false;
        };
        match outcome.ended {
            Some(Ended::Stopped) => false,
            _ => outcome.is_complete || data.train.shards >= self.options.min_shards,
        }
    }

    /// Seals the data that were made of a source, and registers them.
    async fn offer(&self, source: &SourceConfig, outcome: &mut Outcome) -> Result<()> {
        let Some(inputs) = outcome.inputs.take() else { return Ok(()) };
        let folder = self.config.out.join(&source.name);
        let mut state = SourceState::read(&folder)?;
        state.seal(inputs);
        state.write(&folder)?;
        self.serve(source, state.sealed.len() - 1).await?;
        self.register_sealed(source).await
    }

    /// Serves the sealed data of a source, and remembers those that wait for their admission.
    async fn serve_sealed(&self, source: &SourceConfig) -> Result<()> {
        let state = SourceState::read(&self.config.out.join(&source.name))?;
        for (number, batch) in state.sealed.iter().enumerate() {
            self.serve(source, number).await?;
            let record = batch.on_chain.as_ref().filter(|record| record.chain == self.chain_name);
            for id in record.into_iter().flat_map(|record| &record.manifests) {
                let manifest = self.context.chain.manifest(*id).await?;
                if let Some(manifest) = manifest.filter(|manifest| !manifest.info.held_out) {
                    self.remember(*id, source.kind, manifest.info.shards);
                }
            }
        }
        Ok(())
    }

    async fn serve(&self, source: &SourceConfig, number: usize) -> Result<()> {
        if !self.options.serve {
            return Ok(());
        }
        let folder = batch_folder(&self.config.out.join(&source.name), number);
        let shards = membership::serve_shards(&self.context, &folder).await?;
        let fields = json!({ "source": source.name, "folder": folder, "shards": shards });
        self.events.print_json("serving", fields);
        Ok(())
    }

    fn remember(&self, manifest: ManifestId, kind: Kind, shards: u32) {
        self.state().offers.insert(manifest, Offer { kind, shards });
    }

    fn state(&self) -> MutexGuard<'_, ProviderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the sealed data of a source that are not on this chain, unless the operator wants
    /// to stop before.
    async fn register_sealed(&self, source: &SourceConfig) -> Result<()> {
        let folder = self.config.out.join(&source.name);
        let mut state = SourceState::read(&folder)?;
        for number in 0..state.sealed.len() {
            let is_there = |record: &ChainRecord| record.chain == self.chain_name;
            let Some(batch) = state.sealed.get_mut(number) else { break };
            if batch.on_chain.as_ref().is_some_and(is_there) {
                continue;
            }
            let registered = tokio::select! {
                registered = self.register(source, number) => registered,
                () = self.stop.clone().wait() => return Ok(()),
            };
            let place = match &registered {
                Ok(Registration { source, manifests }) => {
                    Some((Some(*source), manifests.iter().map(|manifest| manifest.id).collect()))
                }
                // To try again is of no use.
                Err(error) if is_taken(error) => Some((None, Vec::new())),
                Err(_) => None,
            };
            if let Some((source, manifests)) = place {
                let chain = self.chain_name.clone();
                batch.on_chain = Some(ChainRecord { chain, source, manifests });
                state.write(&folder)?;
            }
            registered.map_err(|error| self.refusal(source, number, error))?;
        }
        Ok(())
    }

    /// Tells why a batch is not registered, and returns the error with its folder.
    fn refusal(&self, source: &SourceConfig, number: usize, error: anyhow::Error) -> anyhow::Error {
        let folder = batch_folder(&self.config.out.join(&source.name), number);
        let error = error.context(format!("{} is not registered", folder.display()));
        let fields = json!({ "source": source.name, "folder": folder, "error": explain(&error) });
        self.events.print_json("unregistered", fields);
        error
    }

    /// Registers a batch, and waits until that is final: a fork may take back what it follows.
    async fn register(&self, source: &SourceConfig, number: usize) -> Result<Registration> {
        let folder = batch_folder(&self.config.out.join(&source.name), number);
        let record = IngestRecord::read(&folder)?;
        let terms = source.terms()?;
        let chain = &self.context.chain;
        let (mut added, mut retries) = (BTreeSet::new(), REGISTRATION_RETRIES);
        loop {
            let limit = match self.options.max_deposit() {
                Some(most) => Some(most.saturating_sub(self.deposits().await?)),
                None => None,
            };
            let held_out = self.options.held_out;
            let registrar = Registrar { chain, signer: &self.signer, held_out, limit };
            let registration = match registrar.register(&record, &terms).await {
                Err(RegistrationError::Chain(error)) if is_passing(&error) && retries > 0 => {
                    retries -= 1;
                    tracing::warn!("{error}; trying again");
                    time::sleep(chain.block_time().await?).await;
                    continue;
                }
                registration => registration?,
            };
            let new = registration.manifests.iter().filter(|manifest| manifest.is_new);
            added.extend(new.map(|manifest| manifest.id));
            if registration.manifests.iter().all(|manifest| !manifest.is_new) {
                self.tell(source, &folder, &registration, |id| added.contains(&id));
                return Ok(registration);
            }
            let block = chain.best_block().await?.number;
            while chain.finalised_block().await?.number < block {
                time::sleep(chain.block_time().await?).await;
            }
        }
    }

    fn tell(
        &self,
        source: &SourceConfig,
        folder: &Path,
        registration: &Registration,
        is_new: impl Fn(ManifestId) -> bool,
    ) {
        for manifest in &registration.manifests {
            let (id, held_out, kind) = (manifest.id, manifest.held_out, source.kind.name());
            if !held_out {
                self.remember(id, source.kind, manifest.shards);
            }
            let waits = manifest.status == ManifestStatus::Proposed;
            let admit = waits.then(|| format!("pol-trainer data admit {id} --kind {kind}"));
            let fields = json!({
                "source": source.name,
                "folder": folder,
                "manifest": id,
                "on_source": registration.source,
                "shards": manifest.shards,
                "held_out": held_out,
                "kind": kind,
                "status": manifest.status,
                "deposit": manifest.deposit.to_string(),
                "new": is_new(id),
                "admit": admit,
            });
            self.events.print("registered", fields, || {
                let mut line = format!(
                    "{}: {} manifest {id} of {} shards{} with a deposit of {}",
                    source.name,
                    if is_new(id) { "registered" } else { "found" },
                    manifest.shards,
                    if held_out { ", held out," } else { "" },
                    format_amount(manifest.deposit)
                );
                if let Some(admit) = &admit {
                    line += &format!("; it waits until governance admits it: {admit}");
                }
                line
            });
        }
    }

    /// Returns the deposits that are on hold for the data of this acquisition.
    async fn deposits(&self) -> Result<Balance> {
        let (chain, mut sources) = (&self.context.chain, BTreeSet::new());
        let mut sum: Balance = 0;
        for source in &self.config.sources {
            let state = SourceState::read(&self.config.out.join(&source.name))?;
            for record in state.sealed.iter().filter_map(|batch| batch.on_chain.as_ref()) {
                if record.chain != self.chain_name {
                    continue;
                }
                for manifest in &record.manifests {
                    sum = sum.saturating_add(chain.manifest_deposit(*manifest).await?);
                }
                sources.extend(record.source);
            }
        }
        for source in sources {
            sum = sum.saturating_add(chain.source_deposit(source).await?);
        }
        Ok(sum)
    }

    /// Returns `true` if the network runs low on text of this kind, and the budget of deposits
    /// covers more.
    async fn wants(&self, kind: Kind) -> Result<bool> {
        let mut supply = self.supply.clone();
        let known = tokio::select! {
            known = supply.wait_for(Option::is_some) => known.is_ok(),
            () = self.stop.clone().wait() => false,
        };
        if !known {
            return Ok(false);
        }
        Ok(self.is_affordable().await? && self.is_low(kind))
    }

    /// Returns `true` if the network runs low on text of this kind, and tells when that changes.
    fn is_low(&self, kind: Kind) -> bool {
        let Some(supply) = self.supply.borrow().clone() else { return false };
        let ProviderConfig { ahead_rounds, ahead_shards, .. } = self.options;
        let by_rounds = u64::from(ahead_rounds).saturating_mul(supply.per_round.into());
        let enough = by_rounds.max(ahead_shards.into());
        let mut state = self.state();
        let (was_held, shards) = (state.demand.is_held(kind), supply.up_to(kind, &state.offers));
        let wants = state.demand.wants(kind, shards, enough);
        drop(state);
        let fields = json!({ "kind": kind, "supply": shards, "enough": enough });
        if !wants && !was_held {
            self.events.print("waiting", fields, || {
                format!(
                    "the network has {shards} shards of kind {} or before ahead, and {enough} are \
                     enough: nothing more is drawn until it runs low",
                    kind.name()
                )
            });
        } else if wants && was_held {
            self.events.print("drawing", fields, || {
                format!(
                    "the network has {shards} shards of kind {} or before ahead: drawing more",
                    kind.name()
                )
            });
        }
        wants
    }

    /// Returns `true` if the budget of deposits covers the smallest manifest, and tells when that
    /// changes.
    async fn is_affordable(&self) -> Result<bool> {
        let Some(most) = self.options.max_deposit() else { return Ok(true) };
        let held = self.deposits().await?;
        let needed = self.context.chain.deposit_rates().await?.of_manifest(1);
        let is_spent = held.saturating_add(needed) > most;
        let was_spent = std::mem::replace(&mut self.state().is_spent, is_spent);
        if is_spent && !was_spent {
            let fields = json!({ "deposits": held.to_string(), "most": most.to_string() });
            self.events.print("budget", fields, || {
                format!(
                    "deposits hold {} and may hold {}: nothing more is drawn until some come back",
                    format_amount(held),
                    format_amount(most)
                )
            });
        }
        Ok(!is_spent)
    }

    /// Waits until sources of one of these kinds are to be drawn from again.
    pub(super) async fn wait_for_demand(&self, kinds: &[Kind]) {
        loop {
            time::sleep(SUPPLY_INTERVAL).await;
            let is_spent = self.state().is_spent;
            if !is_spent && kinds.iter().any(|kind| self.is_low(*kind)) {
                return;
            }
        }
    }

    /// Stops serving.
    pub(super) async fn end(&self) {
        let swarm = self.context.swarm.clone();
        // All that is served is in the store, so an error here loses nothing.
        let _ = time::timeout(Duration::from_secs(1), swarm.shutdown()).await;
    }
}

/// Returns `true` if the network has the text from elsewhere.
fn is_taken(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(RegistrationError::Taken { .. }))
}

/// Returns `true` if the call had no effect, and another one may have: the node was away for too
/// long.
fn is_passing(error: &ChainError) -> bool {
    matches!(error, ChainError::Expired { .. } | ChainError::Displaced { .. } | ChainError::Node(_))
}

/// Tells when the node is away, and when it is back.
async fn tell_absences(mut supply: watch::Receiver<Option<Supply>>, events: Events) {
    let mut is_away = false;
    loop {
        match time::timeout(AWAY_AFTER, supply.changed()).await {
            Ok(Err(_)) => return,
            Ok(Ok(())) if is_away => {
                is_away = false;
                tracing::info!("the node answers again");
                events.print_json("node", json!({ "away": false }));
            }
            Ok(Ok(())) => {}
            Err(_) if !is_away => {
                is_away = true;
                tracing::warn!(
                    "no new block for {} seconds: the node may be away; what it is needed for \
                     waits until it is back",
                    AWAY_AFTER.as_secs()
                );
                events.print_json("node", json!({ "away": true }));
            }
            Err(_) => {}
        }
    }
}
