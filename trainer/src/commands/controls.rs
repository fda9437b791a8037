// SPDX-License-Identifier: Apache-2.0

//! Controls of sampling that most texts go without, and the form of a text.

use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_generate::{Constraint, Controls, Dry, Mirostat, TextTokenizer, Xtc};
use serde_json::Value;
use std::{fs, path::PathBuf};

/// Options of the controls.
#[derive(Args)]
pub(crate) struct ControlOptions {
    /// Add a number, -100 to 100, to the logit of a token. Can be repeated.
    #[arg(long, value_name = "TOKEN=NUMBER", value_parser = parse_bias)]
    logit_bias: Vec<(u32, f32)>,
    /// Subtract a number, -2 to 2, from the logit of a token for each time that it was drawn.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Subtract a number, -2 to 2, from the logits of all tokens that were drawn.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Sample from tokens that are as surprising as expected and whose probabilities sum to this,
    /// above 0 to 1.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    typical_p: f32,
    /// Penalise tokens that go on with a sequence from before (DRY). The usual value is 0.8.
    #[arg(long, value_name = "MULTIPLIER", allow_negative_numbers = true)]
    dry: Option<f32>,
    /// Factor of the penalty for each further token of the sequence.
    #[arg(long, value_name = "FACTOR", default_value_t = Dry::new(0.0).base, requires = "dry")]
    dry_base: f32,
    /// Length of the shortest sequence that is penalised.
    #[arg(long, value_name = "N", default_value_t = Dry::new(0.0).allowed_length, requires = "dry")]
    dry_length: usize,
    /// Exclude the likeliest tokens but the last of them with this probability (XTC).
    #[arg(long, value_name = "PROBABILITY", allow_negative_numbers = true)]
    xtc: Option<f32>,
    /// Probability from which a token can be excluded.
    #[arg(long, value_name = "SHARE", default_value_t = Xtc::new(0.0).threshold, requires = "xtc")]
    xtc_threshold: f32,
    /// Hold the surprise of tokens at this many bits (mirostat). The usual value is 5.
    #[arg(long, value_name = "BITS", allow_negative_numbers = true)]
    mirostat: Option<f32>,
    /// Share of the difference that changes the next draw.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = Mirostat::new(1.0).rate,
        requires = "mirostat"
    )]
    mirostat_rate: f32,
    /// File with a JSON Schema. The text is JSON of that form.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["reason", "tools", "ignore_end"])]
    schema: Option<PathBuf>,
}

fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let parts = text.split_once('=');
    let parts = parts.and_then(|(token, bias)| Some((token.parse().ok()?, bias.parse().ok()?)));
    parts.ok_or_else(|| "a bias is TOKEN=NUMBER, such as 50256=-100".to_owned())
}

/// Checked controls, and the JSON Schema of the text.
pub(crate) struct TextControls {
    pub(crate) controls: Controls,
    schema: Option<Value>,
}

impl ControlOptions {
    /// Checks the controls and reads the schema, before a model is read. A text with a receipt can
    /// have neither.
    pub(crate) fn read(&self, has_receipt: bool) -> Result<TextControls> {
        let controls = Controls {
            logit_bias: self.logit_bias.clone(),
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            typical_p: self.typical_p,
            dry: self.dry.map(|multiplier| Dry {
                multiplier,
                base: self.dry_base,
                allowed_length: self.dry_length,
            }),
            xtc: self.xtc.map(|probability| Xtc { probability, threshold: self.xtc_threshold }),
            mirostat: self.mirostat.map(|target| Mirostat { target, rate: self.mirostat_rate }),
        };
        controls.validate(usize::MAX)?;
        let schema = self.schema.as_ref().map(|path| -> Result<Value> {
            let json = fs::read(path).with_context(|| path.display().to_string())?;
            serde_json::from_slice(&json).with_context(|| format!("{} is no JSON", path.display()))
        });
        let schema = schema.transpose()?;
        ensure!(
            !has_receipt || (schema.is_none() && controls.is_default()),
            "a receipt cannot name a schema, biases, frequency and presence penalties, typical-p, \
             DRY, XTC, or mirostat; leave them out, or --receipt"
        );
        Ok(TextControls { controls, schema })
    }
}

impl TextControls {
    /// Returns the constraint to the form of the text, if it has one.
    pub(crate) fn constraint(&self, text: &TextTokenizer) -> Result<Option<Constraint>> {
        Ok(self.schema.as_ref().map(|schema| text.constraint(schema)).transpose()?)
    }
}
