//! Recipes: made for a folder of data, shown, and set by governance.

use crate::cli::RecipeCommand;
use anyhow::{Context, Result};
use clap::ValueEnum;
use pol_chain::{Call, Chain};
use pol_data::Ingested;
use pol_primitives::{
    MILLION,
    model::{Gpt2Spec, ModelSpec},
    recipe::{AdamW, Compression, Numerics, Recipe, Schedule, TierParameters},
    round::RoundConfig,
};

/// Sizes of a model and of the work of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// A model that trains in seconds, for tests.
    Tiny,
    /// 1.9 million parameters at a vocabulary of 8,192: learns visibly on a laptop within minutes.
    Demo,
}

pub async fn run(command: RecipeCommand) -> Result<()> {
    match command {
        RecipeCommand::New { data, preset, out } => {
            let recipe = recipe(preset, &Ingested::read(&data)?);
            recipe.validate()?;
            let json = serde_json::to_string_pretty(&recipe)?;
            match out {
                Some(path) => std::fs::write(&path, json + "\n").with_context(|| path.display().to_string())?,
                None => println!("{json}"),
            }
        }
        RecipeCommand::Show { node } => {
            let recipe = Chain::connect(&node.url).await?.recipe().await?.context("the chain has no recipe yet")?;
            println!("{}", serde_json::to_string_pretty(&recipe)?);
        }
        RecipeCommand::Set { node, key, file } => {
            let json = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let recipe: Recipe = serde_json::from_slice(&json).with_context(|| format!("{} is not a recipe", file.display()))?;
            recipe.validate().with_context(|| file.display().to_string())?;
            let signer = key.signer()?;
            Chain::connect(&node.url).await?.submit(&signer, Call::SetRecipe(recipe.clone()).sudo()).await?;
            println!("recipe 0x{} is set", hex::encode(recipe.hash()));
        }
        RecipeCommand::Lengths { node, key, json } => {
            let lengths: RoundConfig =
                serde_json::from_str(&json).context("lengths are a JSON object with join, train, reveal, attest, lead and missed, in blocks")?;
            let signer = key.signer()?;
            Chain::connect(&node.url).await?.submit(&signer, Call::SetLengths(lengths).sudo()).await?;
            println!("lengths are set");
        }
    }
    Ok(())
}

fn recipe(preset: Preset, data: &Ingested) -> Recipe {
    let (width, layers, heads, tiers) = match preset {
        Preset::Tiny => (32, 1, 2, [(4, 1, 8, 1); 4]),
        // From a phone that trains an eighth of a whale's data over four rounds, up.
        Preset::Demo => (128, 4, 4, [(8, 1, 10, 4), (8, 1, 20, 1), (8, 2, 20, 1), (8, 4, 20, 1)]),
    };
    let segments = match preset {
        Preset::Tiny => 4,
        Preset::Demo => 10,
    };
    Recipe {
        model: ModelSpec::Gpt2(Gpt2Spec {
            vocabulary: data.vocabulary,
            width,
            layers,
            heads,
            feed_forward: 4 * width,
            context: data.sequence.into(),
        }),
        tokenizer: data.tokenizer,
        // Everybody may know where the model starts; what must not be known in advance is the data.
        seed: *blake3::hash(b"pol initial model").as_bytes(),
        sequence: data.sequence,
        shard_tokens: data.shard_tokens,
        tiers: tiers.map(|(micro_batch, accumulation, inner_steps, cadence)| TierParameters { micro_batch, accumulation, inner_steps, cadence }),
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: Schedule { peak: 2_000_000, warmup_steps: 20, decay_tokens: 0, floor: MILLION },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 512, feedback: 950_000 },
        segments,
        numerics: Numerics::Exact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid() {
        for preset in [Preset::Tiny, Preset::Demo] {
            let data = Ingested { vocabulary: 8_192, sequence: 128, shard_tokens: 4_096, ..Default::default() };
            assert_eq!(recipe(preset, &data).validate(), Ok(()), "{preset:?}");
        }
    }
}
