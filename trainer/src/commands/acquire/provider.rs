// SPDX-License-Identifier: Apache-2.0

//! A provider's service: data are registered and served, and sources are drawn from as long as the
//! network runs low on text.

use super::{
    super::{
        holdings::Holdings,
        membership::{self, SettingNames},
        registration::{Registrar, Registration, RegistrationError, check_tokens, deposits},
    },
    Stop,
    collect::{Collector, Ended, Outcome},
    config::{Config, Kind, SourceConfig, TOKEN_BYTES},
    demand::{Demand, Offer, Supply},
    events::Events,
    network::{Except, NetworkSignatures},
    provider_config::ProviderConfig,
    serving::{Server, is_store_failure},
    state::{ChainRecord, SourceState, batch_folder},
    watcher::Watcher,
};
use crate::{
    api::{ApiPartOptions, ApiParts},
    context::NodeContext,
    control::ActivityKind,
    display::format_amount,
    error::explain,
    monitoring::{Monitoring, pol},
    options::{KeyOptions, NodeOptions},
    roles,
};
use anyhow::{Context, Result, ensure};
use pol_chain::{Chain, ChainError, Signer};
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
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time};

/// Time without an answer at the start after which the node counts as away.
const CONNECT_NOTICE: Duration = Duration::from_secs(5);
/// Time between two attempts to reach a node at the start.
const CONNECT_INTERVAL: Duration = Duration::from_secs(3);
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
    server: Server,
    events: Events,
    stop: Stop,
    supply: watch::Receiver<Option<Supply>>,
    network: Option<NetworkSignatures>,
    state: Mutex<ProviderState>,
}

/// Manifests that the provider registered, and the kinds of which the network has enough.
#[derive(Default)]
struct ProviderState {
    offers: BTreeMap<ManifestId, Offer>,
    demand: Demand,
    /// Sources whose next registration the budget of deposits does not cover.
    spent: BTreeSet<String>,
    /// Sources whose registered data are not all served.
    unserved: BTreeSet<String>,
}

impl<'a> Provider<'a> {
    /// Joins the network, and serves all data that are registered. The task watches the chain, and
    /// ends if a person has to act. A service `waits` for a node that is away.
    pub(super) async fn start(
        config: &'a Config,
        node: &NodeOptions,
        key: &KeyOptions,
        events: Events,
        stop: Stop,
        waits: bool,
    ) -> Result<(Self, JoinHandle<Result<()>>)> {
        let options = config.provider.clone().unwrap_or_default();
        let signer = key.signer()?;
        let chain = connect(node, events, waits).await?;
        check_options(config, &options, &chain).await?;
        let place = membership::Place {
            node,
            swarm: &options.swarm(),
            base_path: options.base_path.as_deref(),
            names: SettingNames::FIELDS,
        };
        let (context, first_block) = membership::start(&signer, chain, place).await?;
        if options.serve {
            membership::join(&context, &signer, Role::Trainer).await?;
        }
        let (sender, supply) = watch::channel(None);
        fs::create_dir_all(&config.out)
            .with_context(|| format!("cannot create {}", config.out.display()))?;
        let server = Server {
            context: context.clone(),
            out: config.out.clone(),
            chain_name: hex::encode(first_block),
            archive: options.archive,
            events,
        };
        let mut watcher = Watcher::new(
            context.clone(),
            signer.clone(),
            events,
            config.out.clone(),
            &server.chain_name,
            options.serve,
            sender,
        )?;
        let watched = context.clone();
        let watching =
            tokio::spawn(async move { roles::run(&watched, &first_block, &mut watcher).await });
        tokio::spawn(tell_absences(supply.clone(), events));
        let state = Mutex::default();
        let except = Except { accounts: vec![signer.account()], ..Except::default() };
        let network = options.compare.then(|| {
            let path = NetworkSignatures::path_in(&config.out, &first_block);
            let update = config.network_update(&options);
            NetworkSignatures::new(context.clone(), stop.clone(), except, path, first_block, update)
        });
        let provider =
            Self { config, options, context, signer, server, events, stop, supply, network, state };
        provider.introduce().await?;
        for source in &config.sources {
            provider.take_up(source).await?;
        }
        Ok((provider, watching))
    }

    /// Keeps the facts of the provider's chain and account up to date.
    pub(super) fn follow_chain(&self, monitoring: &mut Monitoring) {
        monitoring.follow_chain(&self.context.chain, Some(self.signer.account()));
    }

    /// Returns the parts of the HTTP interface.
    pub(super) async fn api_parts(&self, options: &ApiPartOptions) -> Result<ApiParts> {
        let (control, state) = (self.context.control.clone(), self.context.state.path());
        let genesis = self.context.chain.genesis_hash();
        control.describe(|facts| {
            facts.role = "provider";
            facts.account = Some(self.signer.ss58());
            facts.genesis = Some(genesis);
            facts.folder = Some(self.config.out.clone());
        });
        control.note(ActivityKind::Serving, None, "registers and serves data");
        let chain = options.chain(self.context.chain.clone(), state).await?;
        let chain = chain.map(|chain| chain.with_latencies(self.context.swarm.clone()));
        let data = Some(self.config.out.clone());
        Ok(ApiParts { control, chain, data, ..ApiParts::default() })
    }

    async fn introduce(&self) -> Result<()> {
        let (account, (_, deposits)) = (self.signer.ss58(), self.holdings().await?);
        let fields = json!({ "account": account, "deposits": deposits.to_string() });
        self.events.print("provider", fields, || {
            format!("registering as {account}, with deposits of {} now", format_amount(deposits))
        });
        Ok(())
    }

    /// Returns the signatures of what other providers registered, if data are compared with them.
    pub(super) fn network(&self) -> Option<&NetworkSignatures> {
        self.network.as_ref()
    }

    /// Bytes of text after which a source's data are full.
    pub(super) fn batch_bytes(&self) -> u64 {
        let tokens = u64::from(self.options.max_shards) * u64::from(self.config.shard_tokens);
        tokens.saturating_mul(TOKEN_BYTES)
    }

    /// Draws from a source, and offers what it has to the network, as long as that runs low. Fails
    /// if nothing can be served any more.
    pub(super) async fn provide(
        &self,
        collector: &Collector<'_>,
        source: &SourceConfig,
    ) -> Result<Outcome> {
        loop {
            let mut outcome = Outcome::new(source);
            match self.catch_up(source).await {
                Ok(()) if self.stop.is_set() => return Ok(outcome),
                Ok(()) => {}
                Err(error) => {
                    outcome.fail(&unless_store_failed(error)?);
                    return Ok(outcome);
                }
            }
            match self.hindrance(source).await {
                Ok(None) => {}
                Ok(ended) => {
                    outcome.ended = ended;
                    return Ok(outcome);
                }
                Err(error) => {
                    outcome.fail(&error);
                    return Ok(outcome);
                }
            }
            let mut outcome = collector.collect(source).await;
            if self.is_due(&outcome) {
                outcome = collector.collect_news(source, outcome).await;
            }
            if self.is_due(&outcome)
                && let Err(error) = self.offer(source, &mut outcome).await
            {
                outcome.fail(&unless_store_failed(error)?);
            }
            if outcome.ended != Some(Ended::Full) || outcome.error.is_some() {
                return Ok(outcome);
            }
            if outcome.print(self.events.is_json()).is_err() {
                return Ok(outcome);
            }
        }
    }

    /// Releases what nobody needs any more. Another look may succeed where this one fails.
    pub(super) async fn tidy(&self) {
        for source in self.config.sources.iter().filter(|_| self.options.serve) {
            if let Err(error) = self.server.release_consumed(source).await {
                tracing::warn!("{}: {}", source.name, explain(&error));
            }
        }
    }

    /// Serves and registers what was left of a source.
    async fn catch_up(&self, source: &SourceConfig) -> Result<()> {
        if self.state().unserved.contains(&source.name) {
            self.try_take_up(source).await?;
            self.state().unserved.remove(&source.name);
        }
        self.register_sealed(source).await
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
        self.register_sealed(source).await
    }

    /// Takes up the registered data of a source. A source that is damaged keeps no other from it,
    /// and is tried again.
    async fn take_up(&self, source: &SourceConfig) -> Result<()> {
        if let Err(error) = self.try_take_up(source).await {
            let error = unless_store_failed(error)?;
            tracing::error!("{}: not all is served: {}", source.name, explain(&error));
            self.state().unserved.insert(source.name.clone());
        }
        Ok(())
    }

    /// Remembers the manifests of a source that wait for their admission, and serves its registered
    /// data.
    async fn try_take_up(&self, source: &SourceConfig) -> Result<()> {
        self.remember_sealed(source).await?;
        match self.options.serve {
            true => self.server.serve_registered(source).await,
            false => Ok(()),
        }
    }

    /// Remembers the manifests of a source that wait for their admission.
    async fn remember_sealed(&self, source: &SourceConfig) -> Result<()> {
        let state = SourceState::read(&self.config.out.join(&source.name))?;
        for batch in &state.sealed {
            let record = self.server.place(batch.on_chain.as_ref());
            for id in record.into_iter().flat_map(|record| &record.manifests) {
                let manifest = self.context.chain.manifest(*id).await?;
                if let Some(manifest) = manifest.filter(|manifest| !manifest.info.held_out) {
                    self.remember(*id, source.kind, manifest.info.shards);
                }
            }
        }
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
            let record = state.sealed.get(number).and_then(|batch| batch.on_chain.as_ref());
            if self.server.place(record).is_some() {
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
                Err(error) if is_new_and_damaged(error) && state.unseal(number) => {
                    state.write(&folder)?;
                    tracing::warn!("{}: making the data anew: {error:#}", source.name);
                    return Ok(());
                }
                Err(_) => None,
            };
            if let Some((source, manifests)) = place
                && let Some(batch) = state.sealed.get_mut(number)
            {
                let chain = self.server.chain_name.clone();
                let released = BTreeSet::new();
                batch.on_chain = Some(ChainRecord { chain, source, manifests, released });
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
        let terms = source.terms()?;
        let chain = &self.context.chain;
        let (mut added, mut retries) = (BTreeSet::new(), REGISTRATION_RETRIES);
        loop {
            let limit = match self.options.max_deposit() {
                Some(most) => Some(most.saturating_sub(self.holdings().await?.1)),
                None => None,
            };
            let held_out = self.options.held_out;
            let registrar = Registrar { chain, signer: &self.signer, held_out, limit };
            // What the chain knows must be there for peers, so it is served before.
            let serve = async || match self.options.serve {
                true => self.server.serve(source, number, None).await,
                false => Ok(()),
            };
            let registration = match registrar.register(&folder, &terms, serve).await {
                Err(RegistrationError::Chain(error)) if is_passing(&error) && retries > 0 => {
                    retries -= 1;
                    tracing::warn!("{error}; trying again");
                    time::sleep(chain.block_time().await?).await;
                    continue;
                }
                Err(RegistrationError::Unprepared(error)) => {
                    return Err(error.context("it cannot be served"));
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
                if is_new(id) {
                    pol_metrics::data().registered_shards_total.add(manifest.shards.into());
                }
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

    /// Returns what the account has on the chain, and the deposits that are on hold for it.
    async fn holdings(&self) -> Result<(Holdings, Balance), ChainError> {
        let chain = &self.context.chain;
        let holdings = Holdings::read(chain, &self.signer.account()).await?;
        let deposits = holdings.deposits(chain).await?;
        pol_metrics::data().deposits_pol.set(pol(deposits));
        Ok((holdings, deposits))
    }

    /// Returns the reason why a source is not drawn from for now.
    async fn hindrance(&self, source: &SourceConfig) -> Result<Option<Ended>> {
        let mut supply = self.supply.clone();
        let known = tokio::select! {
            known = supply.wait_for(Option::is_some) => known.is_ok(),
            () = self.stop.clone().wait() => return Ok(Some(Ended::Stopped)),
        };
        if !known {
            return Ok(Some(Ended::Held));
        }
        if !self.is_affordable(source).await? {
            return Ok(Some(Ended::Spent));
        }
        Ok((!self.is_low(source.kind)).then_some(Ended::Held))
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

    /// Returns `true` if the budget of deposits covers the smallest manifest of a source, and tells
    /// when that changes.
    async fn is_affordable(&self, source: &SourceConfig) -> Result<bool> {
        let Some(most) = self.options.max_deposit() else { return Ok(true) };
        let (holdings, held) = self.holdings().await?;
        let rates = self.context.chain.deposit_rates().await?;
        let needs_source = source.terms()?.sources(&holdings).next().is_none();
        let needed = deposits(&rates, needs_source, [1].into_iter());
        if held.saturating_add(needed) <= most {
            self.state().spent.remove(&source.name);
            return Ok(true);
        }
        if self.state().spent.insert(source.name.clone()) {
            let fields = json!({
                "source": source.name,
                "deposits": held.to_string(),
                "most": most.to_string(),
                "needed": needed.to_string(),
            });
            self.events.print("budget", fields, || {
                format!(
                    "{}: deposits hold {} and may hold {}, and {} or more are needed: nothing is \
                     drawn until some come back, or provider.max_deposit is raised",
                    source.name,
                    format_amount(held),
                    format_amount(most),
                    format_amount(needed)
                )
            });
        }
        Ok(false)
    }

    /// Waits until sources of one of these kinds are to be drawn from again.
    pub(super) async fn wait_for_demand(&self, kinds: &[Kind]) {
        loop {
            time::sleep(SUPPLY_INTERVAL).await;
            if kinds.iter().any(|kind| self.is_low(*kind)) {
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

/// Connects to a node. A service `waits` for one that is away.
async fn connect(node: &NodeOptions, events: Events, waits: bool) -> Result<Chain> {
    let mut is_away = false;
    let mut tell_absence = || {
        if !std::mem::replace(&mut is_away, true) {
            tracing::warn!("waiting for the node at {}", node.addresses());
            events.print_json("node", json!({ "away": true }));
        }
    };
    let chain = loop {
        let mut connecting = pin!(node.connect());
        let connected = match time::timeout(CONNECT_NOTICE, &mut connecting).await {
            Ok(connected) => connected,
            Err(_) => {
                tell_absence();
                connecting.await
            }
        };
        match connected {
            Err(ChainError::Unreachable { reason, .. }) if waits && node.is_well_formed() => {
                tell_absence();
                tracing::debug!("{reason}");
                time::sleep(CONNECT_INTERVAL).await;
            }
            connected => break connected?,
        }
    };
    if is_away {
        tracing::info!("the node answers");
        events.print_json("node", json!({ "away": false }));
    }
    Ok(chain)
}

/// Checks that data of this configuration can be registered.
async fn check_options(config: &Config, options: &ProviderConfig, chain: &Chain) -> Result<()> {
    let tokenizer = fs::read(&config.tokenizer)
        .with_context(|| format!("cannot read {}", config.tokenizer.display()))?;
    check_tokens(chain, blake3::hash(&tokenizer).as_bytes(), config.shard_tokens).await?;
    let needed = chain.deposit_rates().await?.of_manifest(1);
    if let Some(most) = options.max_deposit() {
        ensure!(
            most >= needed,
            "provider.max_deposit: {} never covers a manifest, which takes {} or more; raise it, \
             or leave it out",
            format_amount(most),
            format_amount(needed)
        );
    }
    Ok(())
}

/// Returns the error unless the store of blobs failed for good.
fn unless_store_failed(error: anyhow::Error) -> Result<anyhow::Error> {
    if is_store_failure(&error) {
        return Err(error.context("nothing can be served"));
    }
    Ok(error)
}

/// Returns `true` if data are damaged that no chain knows.
fn is_new_and_damaged(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(RegistrationError::Damaged { is_new: true, .. }))
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
