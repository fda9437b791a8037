// SPDX-License-Identifier: Apache-2.0

//! Bounds of a configuration's values, and combinations of them that would have no effect.

use super::{
    super::{
        super::registration::Terms,
        bounds::{check_file, check_path, check_range},
    },
    Config, HttpConfig, SourceConfig, Supplier,
};
use anyhow::{Context, Result, ensure};
use pol_corpus::pipeline::ReferenceFiles;

/// Most tokens, documents, and bytes of a budget.
const MOST: u64 = 1 << 50;
/// Longest run, in minutes: a year.
const MAX_MINUTES: u64 = 366 * 24 * 60;
/// Longest time between two requests to a host, in milliseconds: a day.
const MAX_DELAY_MS: u64 = 24 * 3_600_000;
/// Least budget of bytes of sites: that of a page.
const MIN_HTTP_BYTES: u64 = 64 << 10;

impl Config {
    /// Checks the values that sources share.
    pub(super) fn check_shared(&self) -> Result<()> {
        let budget = u64::from(self.shard_tokens)..=MOST;
        check_range("max_tokens_per_source", self.max_tokens_per_source, budget)?;
        check_quality(self.quality_threshold)?;
        self.http.check()?;
        self.check_references()?;
        let mut telling = self.sources.iter().filter(|source| source.languages.is_none());
        ensure!(
            self.languages.is_empty()
                || telling
                    .any(|source| { source.preset().is_ok_and(|preset| preset.tells_languages()) }),
            "languages: no source has rules of cleaning that tell them; set clean of a source to \
             web, books, or dialogue, or leave them out"
        );
        Ok(())
    }

    /// Checks that the files that documents are held against are there, and reads the short ones.
    fn check_references(&self) -> Result<()> {
        let files = [("quality_model", &self.quality_model), ("opt_out", &self.opt_out)];
        for (field, path) in files {
            path.as_ref().map_or(Ok(()), |path| check_file(field, path))?;
        }
        self.against.iter().try_for_each(|path| check_file("against", path))?;
        self.decontaminate.iter().try_for_each(|path| check_path("decontaminate", path))?;
        if self.quality_model.is_none() && self.opt_out.is_none() {
            return Ok(());
        }
        let short = ReferenceFiles { decontaminate: Vec::new(), ..self.references() };
        short.load().map(drop).context("quality_model or opt_out")
    }
}

impl HttpConfig {
    fn check(&self) -> Result<()> {
        check_range("http.host_delay_ms", Some(self.host_delay_ms), 0..=MAX_DELAY_MS)?;
        check_range("http.max_bytes", self.max_bytes, MIN_HTTP_BYTES..=MOST)?;
        for host in &self.allowed_hosts {
            let is_host =
                url::Host::parse(host).is_ok() || host.parse::<std::net::IpAddr>().is_ok();
            ensure!(
                is_host,
                "http.allowed_hosts: {host:?} is no host; write one such as mirror.internal or \
                 127.0.0.1, without scheme and port"
            );
        }
        Ok(())
    }
}

impl SourceConfig {
    /// Checks the values of a source that are its own.
    pub(super) fn check_own(&self, config: &Config, supplier: Supplier<'_>) -> Result<()> {
        let tokens = u64::from(config.shard_tokens)..=MOST;
        check_range("max_tokens", self.max_tokens, tokens)?;
        check_range("max_documents", self.max_documents, 1..=MOST)?;
        check_range("max_minutes", self.max_minutes, 1..=MAX_MINUTES)?;
        self.quality_threshold.map_or(Ok(()), check_quality)?;
        for (field, text) in [("address", &self.address), ("licence", &self.licence)] {
            let is_empty = text.as_ref().is_some_and(|text| text.trim().is_empty());
            ensure!(!is_empty, "{field}: it is empty; leave it out");
        }
        // It stands in the record of each document, also where the chain has another one.
        if let Some(licence) = supplier.licence() {
            Terms::new("", &licence).context("licence of the supplier")?;
        }
        ensure!(
            self.text_fields.is_empty() || supplier.has_tables(),
            "text_fields: this supplier hands on texts, not tables; leave them out (a hub has \
             hub.columns)"
        );
        ensure!(
            self.languages.is_none() || self.preset()?.tells_languages(),
            "languages: the rules of cleaning of this source tell none; set clean to web, books, \
             or dialogue"
        );
        Ok(())
    }
}

fn check_quality(quality: f64) -> Result<()> {
    let is_share = (0.0..=1.0).contains(&quality);
    ensure!(is_share, "quality_threshold: {quality} is no quality from 0 to 1");
    Ok(())
}
