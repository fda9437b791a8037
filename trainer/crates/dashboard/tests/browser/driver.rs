// SPDX-License-Identifier: Apache-2.0

//! The script that drives a headless Chromium, for the tests of this crate and of whole networks.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Run of the script, which says a line when it has come to a point.
pub(crate) struct Browser {
    process: Child,
    told: Lines<BufReader<ChildStdout>>,
    answers: ChildStdin,
}

impl Browser {
    /// Starts the script `browser.mjs` with pages of the server at `url`.
    pub(crate) fn start(script: &str, url: &str, arguments: &[&str]) -> Self {
        let modules = std::env::var_os("POL_NODE_MODULES")
            .map(PathBuf::from)
            .filter(|path| path.join("node_modules/playwright-core").is_dir())
            .expect("run scripts/setup.sh, then `. scripts/env.sh`, which sets POL_NODE_MODULES");
        let mut process = Command::new("node")
            .args([script, url])
            .args(arguments)
            .env("POL_NODE_MODULES", modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is missing: run scripts/setup.sh");
        let told = BufReader::new(process.stdout.take().unwrap()).lines();
        let answers = process.stdin.take().unwrap();
        Self { process, told, answers }
    }

    /// Waits until the script says `point`.
    pub(crate) fn wait_for(&mut self, point: &str) {
        let line = self.told.next().and_then(Result::ok);
        assert_eq!(line.as_deref(), Some(point), "see the messages of the script above");
    }

    /// Lets the script go on after a point.
    pub(crate) fn go_on(&mut self) {
        writeln!(self.answers, "go on").unwrap();
    }

    /// Waits until the script ends without a complaint.
    pub(crate) fn end(mut self) {
        self.wait_for("done");
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
