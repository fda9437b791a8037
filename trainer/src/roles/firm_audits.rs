// SPDX-License-Identifier: Apache-2.0

//! Audits that no fork can replace.

use crate::{context::NodeContext, error::Result, state::AuditKey};
use pol_chain::{BlockInfo, Chain};
use std::collections::BTreeSet;

/// The audits at the newest [firm](NodeContext::firm_block) block.
pub(super) struct FirmAudits {
    context: NodeContext,
    block: Option<BlockInfo>,
    keys: BTreeSet<AuditKey>,
    /// `true` if audits were open at the best block at the last update.
    were_open: bool,
}

impl FirmAudits {
    /// Creates a view that knows no block.
    pub(super) fn new(context: NodeContext) -> Self {
        Self { context, block: None, keys: BTreeSet::new(), were_open: false }
    }

    /// Moves on to the newest firm block. Once a block was read, none is read while no audits
    /// are `open` at the best block, were open there at the last update, or are known here.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached, or if the node is behind a block that was firm before,
    /// since audits of such a node mean nothing.
    pub(super) async fn update(&mut self, open: bool) -> Result<()> {
        if !open && !self.were_open && self.keys.is_empty() && self.block.is_some() {
            return Ok(());
        }
        let block = self.context.firm_block().await?;
        if self.block != Some(block) {
            let audits = self.context.chain.at(block.hash).audits().await?;
            self.keys = audits.iter().map(|(id, audit)| AuditKey::of(*id, audit)).collect();
            self.block = Some(block);
        }
        self.were_open = open;
        Ok(())
    }

    /// Returns `true` if the audit is over on the firm chain.
    pub(super) fn is_over(&self, key: &AuditKey) -> bool {
        key.is_over(&self.keys)
    }

    /// Returns `true` if the audit is the same at the firm block.
    pub(super) fn contains(&self, key: &AuditKey) -> bool {
        self.keys.contains(key)
    }

    /// Returns a client whose calls are void on every fork without the audit, or `None` if the
    /// audit is not the same at the firm block.
    pub(super) fn chain(&self, key: &AuditKey) -> Option<Chain> {
        let block = self.block.filter(|_| self.contains(key))?;
        Some(self.context.chain.at(block.hash))
    }
}
