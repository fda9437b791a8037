// SPDX-License-Identifier: Apache-2.0

//! Checked parameters of generation, which all endpoints share.

use crate::error::ApiError;
use pol_generate::{Controls, Dry, Mirostat, Request, Sampling, Xtc};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Number;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Most stop strings of a request.
const MAX_STOPS: usize = 16;
/// Longest stop string, in bytes.
const MAX_STOP_BYTES: usize = 256;
/// Most texts of a request.
const MAX_CHOICES: usize = 16;
/// Most likely tokens beside each token.
const MAX_TOP: u8 = 20;
/// Most tokens that an answer in one piece reports, with the likely ones beside them: some 25 MB of
/// JSON.
const MAX_REPORTS: usize = 1 << 18;

/// One string, or several.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum Strings {
    /// One string.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Strings {
    /// Returns all strings.
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(string) => vec![string],
            Self::Many(strings) => strings,
        }
    }
}

/// Seed of draws: a whole number of 64 bits. A negative one is that with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u64);

impl Seed {
    /// Returns the number that stands for the bits of a seed in answers, and can be sent again.
    pub(crate) fn answered(seed: u64) -> i64 {
        seed as i64
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(deserializer)?;
        let signed = number.as_i64().map(|number| number as u64);
        let seed = signed.or_else(|| number.as_u64()).map(Self);
        let wrong = || D::Error::custom(format!("{number} is not a whole number of 64 bits"));
        seed.ok_or_else(wrong)
    }
}

/// Numbers that are added to logits, by the id of the token.
pub(crate) type LogitBias = BTreeMap<u32, f32>;

// Attributes of schemas take no constants. A test holds their bounds against those of the checks.
/// Controls of sampling that most requests go without.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamplingControls {
    /// Total probability of the tokens to draw from whose surprise is nearest to the expected one
    /// [default: 1].
    #[schema(exclusive_minimum = 0, maximum = 1)]
    typical_p: Option<f32>,
    /// Penalty of tokens that go on with a sequence from before: `multiplier`, `base` [default:
    /// 1.75], and `allowed_length` [default: 2].
    dry: Option<DryControl>,
    /// Exclusion of the likeliest tokens: `probability`, and `threshold` [default: 0.1].
    xtc: Option<XtcControl>,
    /// Control of surprise: `target` in bits [default: 5], and `rate` [default: 0.1].
    mirostat: Option<MirostatControl>,
}

/// Penalty of tokens that go on with a sequence from before.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DryControl {
    /// Penalty of the shortest sequence.
    #[schema(minimum = 0, maximum = 100)]
    multiplier: f32,
    /// Factor of each further token [default: 1.75].
    #[schema(minimum = 1, maximum = 4)]
    base: Option<f32>,
    /// Length of the shortest sequence that is penalised [default: 2].
    #[schema(minimum = 1, maximum = 64)]
    allowed_length: Option<usize>,
}

impl From<DryControl> for Dry {
    fn from(control: DryControl) -> Self {
        let usual = Self::new(control.multiplier);
        Self {
            base: control.base.unwrap_or(usual.base),
            allowed_length: control.allowed_length.unwrap_or(usual.allowed_length),
            ..usual
        }
    }
}

/// Exclusion of the likeliest tokens.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct XtcControl {
    /// Probability that a draw excludes them.
    #[schema(minimum = 0, maximum = 1)]
    probability: f32,
    /// Probability from which tokens are excluded [default: 0.1].
    #[schema(minimum = 0, maximum = 1)]
    threshold: Option<f32>,
}

impl From<XtcControl> for Xtc {
    fn from(control: XtcControl) -> Self {
        let usual = Self::new(control.probability);
        Self { threshold: control.threshold.unwrap_or(usual.threshold), ..usual }
    }
}

/// Control of surprise.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MirostatControl {
    /// Mean surprise of tokens, in bits [default: 5].
    #[schema(exclusive_minimum = 0, maximum = 32)]
    target: Option<f32>,
    /// Share of the difference from the target that changes the next draw [default: 0.1].
    #[schema(exclusive_minimum = 0, maximum = 1)]
    rate: Option<f32>,
}

impl From<MirostatControl> for Mirostat {
    fn from(control: MirostatControl) -> Self {
        let usual = Self::default();
        Self {
            target: control.target.unwrap_or(usual.target),
            rate: control.rate.unwrap_or(usual.rate),
        }
    }
}

impl SamplingControls {
    /// Returns the controls with biases of tokens, and with the penalties of drawn tokens by their
    /// number (`frequency`) and by their `presence`.
    pub(crate) fn with(
        this: Option<&Self>,
        bias: Option<&LogitBias>,
        [frequency, presence]: [Option<f32>; 2],
    ) -> Controls {
        let Self { typical_p, dry, xtc, mirostat } = this.cloned().unwrap_or_default();
        Controls {
            logit_bias: bias.into_iter().flatten().map(|(&token, &bias)| (token, bias)).collect(),
            frequency_penalty: frequency.unwrap_or(0.0),
            presence_penalty: presence.unwrap_or(0.0),
            typical_p: typical_p.unwrap_or(1.0),
            dry: dry.map(Dry::from),
            xtc: xtc.map(Xtc::from),
            mirostat: mirostat.map(Mirostat::from),
        }
    }
}

/// Parameters as a request gives them; `None` where it gives none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    pub(crate) max_tokens: Option<usize>,
    pub(crate) temperature: Option<f32>,
    pub(crate) top_k: Option<usize>,
    pub(crate) top_p: Option<f32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) repetition_penalty: Option<f32>,
    pub(crate) controls: Controls,
    pub(crate) sensitivity: f64,
    pub(crate) seed: Option<Seed>,
    pub(crate) stop: Vec<String>,
    pub(crate) choices: usize,
    pub(crate) top: Option<u8>,
}

impl Parameters {
    /// Returns the request that these parameters make, without a prompt. Parameters that were not
    /// given are those of `default`.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is out of range.
    pub(crate) fn check(&self, default: Sampling) -> Result<Request, ApiError> {
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_k: self.top_k.unwrap_or(default.top_k),
            top_p: self.top_p.unwrap_or(default.top_p),
            min_p: self.min_p.unwrap_or(default.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
            seed: match self.seed {
                Some(Seed(seed)) => seed,
                None => random_seed()?,
            },
        };
        sampling.validate().map_err(pol_generate::Error::from)?;
        // The engine compares tokens with the vocabulary of its model.
        self.controls.validate(usize::MAX).map_err(pol_generate::Error::from)?;
        if !(0.0..=1.0).contains(&self.sensitivity) {
            let detail = format!("sensitivity must be from 0 to 1, not {}", self.sensitivity);
            return Err(ApiError::parameter("sensitivity", detail));
        }
        if self.stop.len() > MAX_STOPS || self.stop.iter().any(|s| s.len() > MAX_STOP_BYTES) {
            let detail = format!("give at most {MAX_STOPS} strings of {MAX_STOP_BYTES} bytes each");
            return Err(ApiError::parameter("stop", detail));
        }
        if self.stop.iter().any(String::is_empty) {
            let detail = "an empty string ends no text; leave it out";
            return Err(ApiError::parameter("stop", detail));
        }
        if self.max_tokens == Some(0) {
            return Err(ApiError::parameter("max_tokens", "max_tokens must be 1 or more"));
        }
        if !(1..=MAX_CHOICES).contains(&self.choices) {
            let detail = format!("a request has 1 to {MAX_CHOICES} texts: prompts times n");
            return Err(ApiError::parameter("n", detail));
        }
        if self.top.is_some_and(|top| top > MAX_TOP) {
            let detail = format!("at most {MAX_TOP} likely tokens are reported");
            return Err(ApiError::parameter("top_logprobs", detail));
        }
        Ok(Request {
            sampling,
            controls: self.controls.clone(),
            stop: self.stop.clone(),
            sensitivity: self.sensitivity,
            reports: self.top.map(usize::from),
            ..Request::default()
        })
    }
}

/// Checks that an answer in one piece can report the tokens of all `requests`. A stream can: the
/// reports of its events are gone once they are sent.
pub(crate) fn check_reports(requests: &[Request]) -> Result<(), ApiError> {
    let reports = requests.iter().filter_map(|request| {
        let tokens = request.reports?.saturating_add(1);
        Some(request.max_tokens.saturating_mul(tokens))
    });
    let count = reports.fold(0, usize::saturating_add);
    if count > MAX_REPORTS {
        let detail = format!(
            "the answer would report up to {count} tokens, the likely ones beside each included, \
             and an answer in one piece reports at most {MAX_REPORTS}; ask for a stream, a smaller \
             max_tokens, fewer texts, or fewer likely tokens"
        );
        return Err(ApiError::parameter("max_tokens", detail));
    }
    Ok(())
}

/// Returns a seed of 32 bits, which every JSON reader keeps exactly.
fn random_seed() -> Result<u64, ApiError> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(u32::from_le_bytes(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        GenerateRequest,
        body::parse,
        openai::{ChatRequest, CompletionRequest},
    };
    use serde_json::{Value, json};
    use utoipa::PartialSchema;

    fn given() -> Parameters {
        Parameters { choices: 1, ..Parameters::default() }
    }

    #[test]
    fn defaults_hold_where_nothing_is_given() {
        let default = Sampling { temperature: 0.7, ..Sampling::default() };
        let request = given().check(default).unwrap();
        assert_eq!((request.sampling.temperature, request.reports), (0.7, None));
        assert!(request.sampling.seed <= u32::MAX.into());
        let own = Parameters { temperature: Some(0.0), seed: Some(Seed(u64::MAX)), ..given() };
        let request = own.check(default).unwrap();
        assert_eq!((request.sampling.temperature, request.sampling.seed), (0.0, u64::MAX));
    }

    #[test]
    fn seeds_can_be_sent_again() {
        for (sent, seed) in [("-1", u64::MAX), ("18446744073709551615", u64::MAX), ("7", 7)] {
            let read: Seed = serde_json::from_str(sent).unwrap();
            assert_eq!(read, Seed(seed));
            let answered = Seed::answered(seed).to_string();
            assert_eq!(serde_json::from_str::<Seed>(&answered).unwrap(), read);
        }
        for wrong in ["1.5", "18446744073709551616", "\"7\"", "1e300"] {
            let error = serde_json::from_str::<Seed>(wrong).unwrap_err().to_string();
            assert!(error.contains("number"), "{error}");
        }
    }

    #[test]
    fn each_parameter_has_bounds() {
        for wrong in [
            Parameters { temperature: Some(-1.0), ..given() },
            Parameters { temperature: Some(f32::INFINITY), ..given() },
            Parameters { top_p: Some(0.0), ..given() },
            Parameters { min_p: Some(1.5), ..given() },
            Parameters { repetition_penalty: Some(f32::NAN), ..given() },
            Parameters { controls: Controls { typical_p: 0.0, ..Controls::default() }, ..given() },
            Parameters { sensitivity: 2.0, ..given() },
            Parameters { sensitivity: f64::NAN, ..given() },
            Parameters { max_tokens: Some(0), ..given() },
            Parameters { choices: 0, ..given() },
            Parameters { choices: 17, ..given() },
            Parameters { top: Some(21), ..given() },
            Parameters { stop: vec!["x".into(); 17], ..given() },
            Parameters { stop: vec!["x".repeat(257)], ..given() },
            Parameters { stop: vec![String::new()], ..given() },
        ] {
            let refused = wrong.check(Sampling::default());
            assert!(matches!(refused, Err(ApiError::Invalid { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn reports_of_all_texts_are_bounded_together() {
        let text = |max_tokens, reports| Request { max_tokens, reports, ..Request::default() };
        let most = MAX_REPORTS / 4;
        assert!(check_reports(&[text(usize::MAX, None)]).is_ok());
        assert!(check_reports(&[text(most, Some(1)), text(most, Some(1))]).is_ok());
        for wrong in [
            vec![text(most, Some(1)), text(most + 1, Some(1))],
            vec![text(most, Some(4))],
            vec![text(usize::MAX, Some(20)), text(usize::MAX, Some(0))],
        ] {
            match check_reports(&wrong) {
                Err(ApiError::Invalid { parameter: Some("max_tokens"), .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Returns whole numbers at the bounds and beyond them that the description of a type gives to
    /// one of its fields, each with `true` if it is within.
    fn edges<T: PartialSchema>(field: &str) -> Vec<(i64, bool)> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let described = &schema["properties"][field];
        let bound = |name: &str| described[name].as_i64();
        let least = bound("minimum").map(|least| [(least, true), (least - 1, false)]);
        let above = bound("exclusiveMinimum").map(|above| [(above + 1, true), (above, false)]);
        let most = bound("maximum").map(|most| [(most, true), (most + 1, false)]);
        assert!(least.is_some() || above.is_some(), "{field} has no lower bound: {described}");
        [least, above, most].into_iter().flatten().flatten().collect()
    }

    #[test]
    fn the_description_of_requests_has_the_bounds_of_the_checks() {
        fn hold<T: PartialSchema>(body: &Value, accepts: impl Fn(&[u8]) -> bool) {
            for field in [
                "temperature",
                "top_p",
                "min_p",
                "repetition_penalty",
                "frequency_penalty",
                "presence_penalty",
            ] {
                for (value, is_within) in edges::<T>(field) {
                    let mut body = body.clone();
                    body[field] = value.into();
                    assert_eq!(accepts(body.to_string().as_bytes()), is_within, "{body}");
                }
            }
        }
        let text = json!({"prompt": "x"});
        hold::<GenerateRequest>(&text, |body| {
            parse::<GenerateRequest>(body).unwrap().check().is_ok()
        });
        hold::<CompletionRequest>(&text, |body| {
            parse::<CompletionRequest>(body).unwrap().check().is_ok()
        });
        let chat = json!({"messages": [{"role": "user", "content": "x"}]});
        hold::<ChatRequest>(&chat, |body| parse::<ChatRequest>(body).unwrap().check().is_ok());
    }

    #[test]
    fn the_description_of_controls_has_the_bounds_of_the_checks() {
        let accepts = |controls: &Value| {
            let controls: SamplingControls = serde_json::from_value(controls.clone()).unwrap();
            let controls = SamplingControls::with(Some(&controls), None, [None; 2]);
            Parameters { controls, ..given() }.check(Sampling::default()).is_ok()
        };
        for (value, is_within) in edges::<SamplingControls>("typical_p") {
            assert_eq!(accepts(&json!({"typical_p": value})), is_within, "typical_p: {value}");
        }
        for (control, needed, field, edges) in [
            ("dry", json!({}), "multiplier", edges::<DryControl>("multiplier")),
            ("dry", json!({"multiplier": 1}), "base", edges::<DryControl>("base")),
            (
                "dry",
                json!({"multiplier": 1}),
                "allowed_length",
                edges::<DryControl>("allowed_length"),
            ),
            ("xtc", json!({}), "probability", edges::<XtcControl>("probability")),
            ("xtc", json!({"probability": 1}), "threshold", edges::<XtcControl>("threshold")),
            ("mirostat", json!({}), "target", edges::<MirostatControl>("target")),
            ("mirostat", json!({}), "rate", edges::<MirostatControl>("rate")),
        ] {
            for (value, is_within) in edges {
                let mut given = needed.clone();
                given[field] = value.into();
                let controls = json!({(control): given});
                assert_eq!(accepts(&controls), is_within, "{controls}");
            }
        }
    }

    #[test]
    fn controls_have_usual_values() {
        let json = r#"{"dry": {"multiplier": 0.8}, "xtc": {"probability": 0.5}, "mirostat": {}}"#;
        let controls: SamplingControls = serde_json::from_str(json).unwrap();
        let controls = SamplingControls::with(Some(&controls), None, [None; 2]);
        assert_eq!((controls.dry, controls.xtc), (Some(Dry::new(0.8)), Some(Xtc::new(0.5))));
        assert_eq!((controls.mirostat, controls.typical_p), (Some(Mirostat::new(5.0)), 1.0));
    }
}
