//! Recipes: made for a folder of data, shown, and set by governance.

use crate::cli::RecipeCommand;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use pol_chain::{Call, Chain};
use pol_data::Ingested;
use pol_import::describe;
use pol_primitives::{
    Hash, MILLION,
    audit::AuditConfig,
    model::ModelSpec,
    recipe::{AdamW, Compression, Numerics, Recipe, Schedule, TierParameters},
    rewrite::Rewrite,
    round::RoundConfig,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

/// How many times smaller the learning rate of a model is that starts from an imported one.
const FINE_TUNING: u64 = 10;

/// Sizes of a model and of the work of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// A model that trains in seconds, for tests.
    Tiny,
    /// 1.9 million parameters at a vocabulary of 8,192: learns visibly on a laptop within minutes.
    Demo,
    /// Leases of eight steps of one sequence or a few, in four segments: for imported models that a
    /// laptop can only just train.
    FineTune,
}

pub async fn run(command: RecipeCommand) -> Result<()> {
    match command {
        RecipeCommand::New { data, preset, model, tolerance, out } => {
            let data = Ingested::read(&data)?;
            let mut recipe = recipe(preset.sizes(&data), data.tokenizer);
            if let Some(folder) = &model {
                start_from(&mut recipe, &data, folder)?;
            }
            if let Some(tolerance) = tolerance {
                recipe.numerics = Numerics::Native { tolerance };
            }
            recipe.validate()?;
            let json = serde_json::to_string_pretty(&recipe)?;
            match out {
                Some(path) => std::fs::write(&path, json + "\n")
                    .with_context(|| path.display().to_string())?,
                None => println!("{json}"),
            }
        }
        RecipeCommand::Show { node } => {
            let recipe = Chain::connect(&node.url)
                .await?
                .recipe()
                .await?
                .context("the chain has no recipe yet")?;
            println!("{}", serde_json::to_string_pretty(&recipe)?);
        }
        RecipeCommand::Set { node, key, file } => {
            let json = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let recipe: Recipe = serde_json::from_slice(&json)
                .with_context(|| format!("{} is not a recipe", file.display()))?;
            recipe.validate().with_context(|| file.display().to_string())?;
            let signer = key.signer()?;
            Chain::connect(&node.url)
                .await?
                .submit(&signer, Call::SetRecipe(recipe.clone()).sudo())
                .await?;
            println!("recipe 0x{} is set", hex::encode(recipe.hash()));
        }
        RecipeCommand::Rewrite { node, key, rewrite, out, set, json } => {
            let chain = Chain::connect(&node.url).await?;
            let signer = set.then(|| key.signer()).transpose()?;
            let (before, recipe) = rewritten(&chain, rewrite).await?;
            let pretty = serde_json::to_string_pretty(&recipe)?;
            if let Some(path) = &out {
                std::fs::write(path, pretty + "\n").with_context(|| path.display().to_string())?;
            }
            if let Some(signer) = &signer {
                chain.submit(signer, Call::SetRecipe(recipe.clone()).sudo()).await?;
            }
            tell(&before, &recipe, set, json)?;
        }
        RecipeCommand::Lengths { node, key, json } => {
            let lengths: RoundConfig = serde_json::from_str(&json)
                .context("lengths are a JSON object with join, train, reveal, attest, lead and missed, in blocks")?;
            let signer = key.signer()?;
            Chain::connect(&node.url)
                .await?
                .submit(&signer, Call::SetLengths(lengths).sudo())
                .await?;
            println!("lengths are set");
        }
        RecipeCommand::Audits { node, key, json } => {
            let config: AuditConfig = serde_json::from_str(&json).context(
                "audits are a JSON object with seats, more_seats, segments, probe, and mix, serve, replay, open, reveal in blocks, escrow in \
                 rounds",
            )?;
            let signer = key.signer()?;
            Chain::connect(&node.url)
                .await?
                .submit(&signer, Call::SetAudits(config).sudo())
                .await?;
            println!("audits are set");
        }
    }
    Ok(())
}

/// What presets and benchmarks choose; everything else of a recipe is the same for all.
pub struct Sizes {
    pub vocabulary: u32,
    pub width: u32,
    pub layers: u16,
    pub heads: u16,
    pub sequence: u16,
    pub shard_tokens: u32,
    /// Micro-batch, accumulation, inner steps and cadence by tier, smallest tier first.
    pub tiers: [(u16, u16, u16, u8); 4],
    pub segments: u16,
}

impl Preset {
    fn sizes(self, data: &Ingested) -> Sizes {
        let Ingested { vocabulary, sequence, shard_tokens, .. } = *data;
        match self {
            Self::Tiny => Sizes {
                vocabulary,
                width: 32,
                layers: 1,
                heads: 2,
                sequence,
                shard_tokens,
                tiers: [(4, 1, 8, 1); 4],
                segments: 8,
            },
            Self::FineTune => Sizes {
                tiers: [(1, 1, 8, 4), (1, 1, 8, 1), (1, 2, 8, 1), (1, 4, 8, 1)],
                // A state of a large model takes gigabytes, and each segment ends in one.
                segments: 4,
                ..Self::Tiny.sizes(data)
            },
            Self::Demo => Sizes {
                vocabulary,
                width: 128,
                layers: 4,
                heads: 4,
                sequence,
                shard_tokens,
                // From a phone that trains half a laptop's data over four rounds, up.
                tiers: [(4, 1, 20, 4), (8, 1, 20, 1), (8, 2, 20, 1), (8, 4, 20, 1)],
                // A step each: an audit of one is the least that can be asked of a seat.
                segments: 20,
            },
        }
    }
}

/// The recipe of these sizes.
pub fn recipe(sizes: Sizes, tokenizer: Hash) -> Recipe {
    let Sizes { vocabulary, width, layers, heads, sequence, shard_tokens, tiers, segments } = sizes;
    let feed_forward = width.saturating_mul(4);
    Recipe {
        model: ModelSpec::gpt2(vocabulary, width, layers, heads, feed_forward, sequence.into()),
        tokenizer,
        // Everybody may know where the model starts; what must not be known in advance is the data.
        seed: *blake3::hash(b"pol initial model").as_bytes(),
        pretrained: None,
        rewrite: None,
        sequence,
        shard_tokens,
        tiers: tiers.map(|(micro_batch, accumulation, inner_steps, cadence)| TierParameters {
            micro_batch,
            accumulation,
            inner_steps,
            cadence,
        }),
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: Schedule { peak: 2_000_000, warmup_steps: 20, decay_tokens: 0, floor: MILLION },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 512, feedback: 950_000 },
        segments,
        numerics: Numerics::Exact,
    }
}

/// Has `recipe` start from the imported model in `folder` instead of from noise.
fn start_from(recipe: &mut Recipe, data: &Ingested, folder: &Path) -> Result<()> {
    let (spec, report) = describe(folder)?;
    let own = report.tokenizer.as_ref().with_context(|| {
        format!("{} has no tokenizer, so no text can be made for it", folder.display())
    })?;
    ensure!(
        own.hash == data.tokenizer,
        "the data was cut by another tokenizer than the model's: ingest it again with --tokenizer {}",
        folder.join(pol_data::TOKENIZER_FILE).display()
    );
    ensure!(
        u32::from(data.sequence) <= spec.context,
        "sequences of {} tokens are longer than the model's context of {}: ingest the data again with a smaller --sequence",
        data.sequence,
        spec.context
    );
    (recipe.model, recipe.pretrained) = (spec, Some(report.root));
    // What is known already is lost at the rate that noise is trained at.
    recipe.schedule.peak /= FINE_TUNING;
    Ok(())
}

/// The recipe that the network's model was made by, and the one in force with `rewrite` of that
/// model.
async fn rewritten(chain: &Chain, rewrite: Rewrite) -> Result<(Recipe, Recipe)> {
    let head = chain
        .overview()
        .await?
        .head
        .context("the chain has no model yet: set a recipe of the architecture you want")?;
    let before = chain
        .recipe_by_hash(&head.recipe_hash)
        .await?
        .context("the node does not know the recipe of the model")?;
    let in_force = chain.recipe().await?.context("the chain has no recipe yet")?;
    let recipe =
        Recipe { model: rewrite.apply(&before.model)?, rewrite: Some(rewrite), ..in_force };
    recipe.validate()?;
    Ok((before, recipe))
}

/// Prints what `recipe` changes of the model that `before` made.
fn tell(before: &Recipe, recipe: &Recipe, set: bool, as_json: bool) -> Result<()> {
    let changes = changes(&before.model, &recipe.model)?;
    let (hash, parameters) =
        (format!("0x{}", hex::encode(recipe.hash())), [before.model.size(), recipe.model.size()]);
    if as_json {
        println!(
            "{}",
            json!({ "hash": hash, "set": set, "changes": changes, "parameters": parameters, "recipe": recipe })
        );
        return Ok(());
    }
    for (name, [from, to]) in &changes {
        println!("{name}: {from} to {to}");
    }
    let [from, to] = parameters;
    println!("parameters: {from} to {to}");
    match set {
        true => println!("recipe {hash} is set: the next round rewrites the model"),
        false => println!("recipe {hash} is not set; --set does that"),
    }
    Ok(())
}

/// What differs between two architectures.
fn changes(before: &ModelSpec, after: &ModelSpec) -> Result<BTreeMap<String, [Value; 2]>> {
    let [before, after] = [before, after].map(serde_json::to_value);
    let (before, after) = (before?, after?);
    let fields = after.as_object().into_iter().flatten();
    let both = fields.map(|(name, to)| (name.clone(), [before[name].clone(), to.clone()]));
    Ok(both.filter(|(_, [from, to])| from != to).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::model::Experts;

    #[test]
    fn what_a_rewrite_changes_is_shown() {
        let before = ModelSpec::gpt2(99, 12, 3, 3, 24, 8);
        let changed =
            |rewrite: Rewrite| changes(&before, &rewrite.apply(&before).unwrap()).unwrap();
        assert_eq!(
            changed(Rewrite::InsertBlock { at: 1 }),
            BTreeMap::from([("layers".into(), [json!(3), json!(4)])])
        );
        let upcycled = changed(Rewrite::Upcycle { experts: Experts::new(5, 2) });
        assert_eq!((upcycled.len(), &upcycled["experts"][1]["count"]), (1, &json!(5)));
    }

    #[test]
    fn presets_are_valid() {
        for preset in [Preset::Tiny, Preset::Demo, Preset::FineTune] {
            let data = Ingested {
                vocabulary: 8_192,
                sequence: 128,
                shard_tokens: 4_096,
                ..Default::default()
            };
            assert_eq!(recipe(preset.sizes(&data), [0; 32]).validate(), Ok(()), "{preset:?}");
        }
    }
}
