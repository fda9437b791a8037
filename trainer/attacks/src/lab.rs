//! Attacks on training, with the real engine and without a network: rates over many draws, and harm
//! over many rounds.

use crate::{
    cheat::{self, Cheat, Kind},
    report::{Row, wilson},
};
use anyhow::{Context, Result, ensure};
use pol_engine::{
    Excised, Job, LeaseData, TrainingState, aggregate, evaluate,
    native::{self, Deviation},
    pack, replay, train_segment,
};
use pol_primitives::{
    Hash,
    audit::draw_segments,
    data::ShardId,
    lease::Lease,
    payload::Payload,
    prf::Prf,
    recipe::{MIN_TOLERANCE, Numerics, Recipe, Tier},
};
use pol_trainer::Conduct;
use std::sync::Arc;

const TIER: Tier = Tier::Whale;
/// Audits of each share of skipped work.
const AUDITS: u32 = 4_000;
/// Trainers of the poisoned model, its attackers among them, and rounds in which they attack.
const TRAINERS: u32 = 10;
const ATTACKERS: u32 = 2;
const ROUNDS: u32 = 8;
/// Rounds after which an attack is taken out, as audits do.
const LAG: u32 = 2;
/// Share of a lease's improvement that a drift may cost which no audit can tell from rounding.
const DRIFT_HARM: f64 = 0.01;
/// Times the tolerance: a drift that every audit has to find.
const PLAIN_DRIFT: u32 = 4;

/// Payloads with their staleness.
type Updates = Vec<(Payload, u8)>;

/// Text and a recipe to train on.
pub struct Lab {
    /// The recipe.
    pub recipe: Recipe,
    /// Shards to train on.
    pub shards: Vec<Vec<u32>>,
    /// Shards that nobody trains on.
    pub held_out: Vec<Vec<u32>>,
}

impl Lab {
    fn base(&self) -> Vec<f32> {
        pol_model::initial_parameters(&self.recipe.model, &self.recipe.seed)
    }

    fn lease(&self, recipe: &Recipe, nonce: u32) -> Result<(Lease, LeaseData)> {
        let count = recipe.shards_per_lease(TIER) as usize;
        let shard = |place: usize| {
            let at = (nonce as usize * count + place)
                .checked_rem(self.shards.len())
                .context("no text to train on")?;
            Ok(self.shards[at].clone())
        };
        let data = LeaseData::new(recipe, (0..count).map(shard).collect::<Result<_>>()?)?;
        let ids = (0..count)
            .map(|place| ShardId { manifest: 0, index: place as u32 })
            .collect::<Vec<_>>();
        let lease = Lease {
            nonce,
            tier: TIER,
            round: 1,
            due_round: 1,
            seed: [3; 32],
            base_root: [0; 32],
            head_tokens: 0,
            recipe: recipe.hash(),
            carry: [0; 32],
            carry_round: 0,
            shards: ids.try_into().map_err(|_| anyhow::anyhow!("too many shards"))?,
        };
        Ok((lease, data))
    }

    fn cheat(&self, kind: Kind) -> Cheat {
        Cheat { kind, text: Arc::new(self.held_out.clone()), shards: 0 }
    }

    /// 6: skips `j` of `M` segments; each audit replays one, drawn as the chain draws it.
    pub fn skips(&self) -> Result<Row> {
        // Twice as many segments as the network's recipe has, so that there are more shares to
        // skip.
        let recipe = Recipe { segments: self.recipe.segments * 2, ..self.recipe.clone() };
        let (account, segments) = ([6u8; 32], recipe.segments);
        let (lease, data) = self.lease(&recipe, 0)?;
        let job =
            Job { recipe: &recipe, lease: &lease, account: &account, data: &data, workers: 2 };
        let (mut drawn, mut caught, mut held, mut notes) = (0u64, 0u64, true, Vec::new());
        let mut last = [0.0, 1.0];
        for skipped in [1u16, 2, 4] {
            let mut states = vec![TrainingState::fresh(self.base())];
            for segment in 0..segments {
                let mut state = states.last().context("the start")?.clone();
                if segment < skipped {
                    // Claimed as if it had been trained.
                    state.steps += u64::from(recipe.steps_per_segment(TIER));
                } else {
                    train_segment(&job, &mut state, segment)?;
                }
                states.push(state);
            }
            // What a seat finds of each segment: every draw of it gives the same.
            let mut false_ends = Vec::new();
            for (segment, pair) in (0..segments).zip(states.windows(2)) {
                if replay(&job, pair[0].clone(), segment)?.1 != pair[1].leaf() {
                    false_ends.push(segment);
                }
            }
            ensure!(
                false_ends == (0..skipped).collect::<Vec<_>>(),
                "replay finds {false_ends:?} of {skipped} skipped segments"
            );
            let caught_in = |audit: &u32| {
                let seed: Hash = pol_primitives::digest(b"pol/attacks/skips", &(skipped, audit));
                draw_segments(&seed, &account, segments, 1, &[])
                    .iter()
                    .any(|segment| false_ends.contains(segment))
            };
            let hits = (0..AUDITS).filter(caught_in).count() as u64;
            let (share, interval) =
                (f64::from(skipped) / f64::from(segments), wilson(hits, AUDITS.into()));
            held &= interval[0] <= share && share <= interval[1];
            notes.push(format!("{skipped}/{segments}: {:.4}", hits as f64 / f64::from(AUDITS)));
            (drawn, caught, last) = (drawn + u64::from(AUDITS), caught + hits, interval);
        }
        let row = Row::new(6, "skips j of M, drawn", "p = j/M ± CI").counted(drawn, caught, caught);
        Ok(Row { interval: last, ..row }.held(
            held,
            format!("caught per audit {}; the interval is that of the last", notes.join(", ")),
        ))
    }

    /// The held-out loss of a model of ten trainers. With a `kind` of attack, two of them attack in
    /// every round but the last ones, and are taken out two rounds later; without, only the others
    /// take part. Also the worst loss on the way.
    fn grow(&self, kind: Option<Kind>) -> Result<(f64, f64)> {
        let held_out = LeaseData::new(&self.recipe, self.held_out.clone())?;
        let sequences: Vec<&[u32]> =
            (0..held_out.sequences()).filter_map(|at| held_out.sequence(at)).take(128).collect();
        let mut parameters = self.base();
        let mut states: Vec<TrainingState> =
            (0..TRAINERS).map(|_| TrainingState::fresh(parameters.clone())).collect();
        let mut history: Vec<(Updates, Updates)> = Vec::new();
        let mut worst = 0f64;
        for round in 0..ROUNDS + LAG {
            let attacked = kind.filter(|_| round < ROUNDS);
            let (mut all, mut honest) = (Vec::new(), Vec::new());
            for (trainer, carried) in (0..TRAINERS).zip(&mut states) {
                let attacks = trainer < ATTACKERS;
                if attacks && attacked.is_none() {
                    continue;
                }
                let (lease, leased) = self.lease(&self.recipe, round * TRAINERS + trainer)?;
                let cheat = attacked.filter(|_| attacks).map(|kind| self.cheat(kind));
                let data = match &cheat {
                    Some(cheat) => cheat.data(&self.recipe, leased),
                    None => leased,
                };
                carried.parameters.copy_from_slice(&parameters);
                let job = Job {
                    recipe: &self.recipe,
                    lease: &lease,
                    account: &[trainer as u8; 32],
                    data: &data,
                    workers: 1,
                };
                for segment in 0..self.recipe.segments {
                    train_segment(&job, carried, segment)?;
                }
                let payload = match &cheat {
                    Some(cheat) => {
                        let bytes = cheat.pack(&self.recipe, &parameters, carried)?;
                        Payload::decode(
                            &bytes,
                            self.recipe.compression.top_k,
                            self.recipe.model.size(),
                        )?
                    }
                    None => pack(&self.recipe, &parameters, carried)?,
                };
                if !attacks {
                    honest.push((payload.clone(), 0));
                }
                all.push((payload, 0));
            }
            let due = round
                .checked_sub(LAG)
                .and_then(|past| history.get(past as usize))
                .filter(|(all, honest)| all.len() > honest.len());
            let excised: Vec<Excised> = due
                .map(|(before, after)| Excised {
                    recipe: self.recipe.clone(),
                    before: before.clone(),
                    after: after.clone(),
                    rewritings: Vec::new(),
                })
                .into_iter()
                .collect();
            parameters = aggregate(&self.recipe, &parameters, &all, &excised)?;
            history.push((all, honest));
            worst = worst.max(evaluate(&self.recipe.model, &parameters, &sequences, 2)?);
        }
        Ok((evaluate(&self.recipe.model, &parameters, &sequences, 2)?, worst))
    }

    /// 10: sign flips, scaling and backdoors by a fifth of the trainers, round after round.
    pub fn poison(&self) -> Result<Row> {
        let (clean, _) = self.grow(None)?;
        let mut held = true;
        let mut notes = vec![format!("clean {clean:.4}")];
        let attacks = [
            (Kind::Flipped, "flipped"),
            (Kind::Scaled, "scaled"),
            (Kind::Backdoored, "backdoored"),
        ];
        for (kind, name) in attacks {
            let (loss, _) = self.grow(Some(kind))?;
            held &= (loss - clean) / clean < cheat::HARM;
            notes.push(format!("{name} {loss:.4} ({:+.2} %)", (loss - clean) / clean * 100.0));
        }
        let tries = (attacks.len() as u32 * ROUNDS * ATTACKERS).into();
        Ok(Row::new(10, "a fifth poisons, excised", "loss within 2 %").tried(tries, tries).held(
            held,
            format!(
                "held-out loss of {TRAINERS} trainers after {} rounds: {}",
                ROUNDS + LAG,
                notes.join(", ")
            ),
        ))
    }

    /// 11: drifts as far as the native profile's tolerance lets it in every segment of a lease, the
    /// way the loss grows fastest; and [`PLAIN_DRIFT`] times as far.
    pub fn drift(&self) -> Result<Row> {
        let recipe = Recipe {
            numerics: Numerics::Native { tolerance: MIN_TOLERANCE },
            ..self.recipe.clone()
        };
        let (account, (lease, data)) = ([11u8; 32], self.lease(&recipe, 0)?);
        let job =
            Job { recipe: &recipe, lease: &lease, account: &account, data: &data, workers: 1 };
        let held_out = LeaseData::new(&recipe, self.held_out.clone())?;
        let sequences: Vec<&[u32]> =
            (0..held_out.sequences()).filter_map(|at| held_out.sequence(at)).take(128).collect();
        let loss =
            |state: &TrainingState| evaluate(&recipe.model, &state.parameters, &sequences, 2);
        // The end of a lease that drifts in each segment by this share of what it changes, and the
        // segments that sketches find it in.
        let trained = |share: u32| -> Result<(TrainingState, u64)> {
            let (mut state, mut found) = (TrainingState::fresh(self.base()), 0);
            for segment in 0..recipe.segments {
                let start = state.clone();
                native::deviate(&job, &mut state, segment, Deviation::Drift(share))?;
                let replayed = replay(&job, start.clone(), segment)?.0;
                let [claimed, replayed] = [&state, &replayed].map(|end| {
                    native::sketch(&recipe.model, &[11; 32], &account, segment, &start, end)
                });
                found += u64::from(
                    claimed?
                        .distance(&replayed?)
                        .into_iter()
                        .any(|distance| distance > MIN_TOLERANCE),
                );
            }
            Ok((state, found))
        };
        let before = loss(&TrainingState::fresh(self.base()))?;
        let [honest, hidden, plain] = [0, MIN_TOLERANCE, MIN_TOLERANCE * PLAIN_DRIFT].map(trained);
        let ((honest, wrongly), (hidden, _), (_, found)) = (honest?, hidden?, plain?);
        let harm = (loss(&hidden)? - loss(&honest)?) / (before - loss(&honest)?);
        let segments = u64::from(recipe.segments);
        let held = found == segments && wrongly == 0 && harm < DRIFT_HARM;
        let row =
            Row::new(11, "drift inside a tolerance", "measured harm < 1 %").tried(segments, found);
        Ok(Row { false_positives: wrongly, ..row }.held(
            held,
            format!(
                "native profile: {} millionths in every segment cost {:+.2} % of the lease's improvement; \
                 {PLAIN_DRIFT} times that is found in {found} of {segments} segments",
                MIN_TOLERANCE,
                harm * 100.0
            ),
        ))
    }

    /// 21: payloads, parameters and states of bytes that nobody meant.
    pub fn decoders(&self) -> Result<Row> {
        const TRIES: u32 = 3_000;
        let (top_k, values) = (self.recipe.compression.top_k, self.recipe.model.size());
        let state = TrainingState::fresh(self.base());
        let payload = cheat::noise(&self.recipe, &state, 1, 2);
        let mut prf = Prf::new("pol/attacks/bytes", &[21; 32], &[]);
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("state");
        state.save(&path)?;
        let saved = std::fs::read(&path)?;
        let mut refused = 0u64;
        let mut accepted_unchanged = 0u64;
        for attempt in 0..TRIES {
            let mut bytes = payload.clone();
            for _ in 0..=prf.below(4) {
                let at = prf.below(bytes.len() as u32) as usize;
                bytes[at] ^= 1 << prf.below(8);
            }
            if attempt % 4 == 0 {
                bytes.truncate(prf.below(bytes.len() as u32) as usize);
            }
            match Payload::decode(&bytes, top_k, values) {
                Err(_) => refused += 1,
                // Another payload in its one encoding is a payload.
                Ok(decoded) => accepted_unchanged += u64::from(decoded.encode() == bytes),
            }
            let random: Vec<u8> = (0..prf.below(256)).map(|_| prf.below(256) as u8).collect();
            refused += u64::from(Payload::decode(&random, top_k, values).is_err());
            refused +=
                u64::from(pol_engine::parameters_from_bytes(&random, values as usize).is_err());
        }
        for _ in 0..40 {
            let mut bytes = saved.clone();
            let at = prf.below(bytes.len() as u32) as usize;
            bytes[at] ^= 1 << prf.below(8);
            std::fs::write(&path, &bytes)?;
            refused += u64::from(TrainingState::load(&path, values as usize).is_err());
        }
        let tries = u64::from(TRIES) * 3 + 40;
        let met = refused + accepted_unchanged;
        Ok(Row::new(21, "payload and state bytes", "no panic, typed errors").tried(tries, met).held(
            met == tries,
            format!("{refused} refused, {accepted_unchanged} flipped into another well-formed payload, which replay refuses"),
        ))
    }
}
