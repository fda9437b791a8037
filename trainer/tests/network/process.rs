// SPDX-License-Identifier: Apache-2.0

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Pause between two looks at a log or a status.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A process that ends with the test.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` and appends its output to `log`.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Self {
        // A process that is started again continues its log.
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Kills the process with SIGKILL, like a power cut.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the process as a hung machine does, or lets it go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Returns the log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Returns the log under a headline with its path.
    pub(crate) fn titled_log(&self) -> String {
        format!("--- {}\n{}", self.log.display(), self.log())
    }

    /// Returns how often the log has `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Waits until the log has `text` more than `before` times.
    pub(crate) fn wait_for(&self, text: &str, before: usize, seconds: u64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while self.count(text) <= before {
            assert!(Instant::now() < end, "waited {seconds} s for '{text}'\n{}", self.log());
            sleep(POLL_INTERVAL);
        }
    }

    /// Waits until the log has `text` once more than now.
    pub(crate) fn wait_for_next(&self, text: &str, seconds: u64) {
        self.wait_for(text, self.count(text), seconds);
    }

    /// Waits until the process ends without an error.
    pub(crate) fn wait_end(&mut self, seconds: u64) {
        assert_eq!(self.wait_exit(seconds), Some(0), "{}", self.log());
    }

    /// Waits until the process fails, and returns its last line.
    pub(crate) fn wait_failure(mut self, seconds: u64) -> String {
        assert_eq!(self.wait_exit(seconds), Some(1), "{}", self.log());
        self.log().lines().next_back().unwrap_or_default().to_owned()
    }

    /// Waits until the process ends, and returns its exit code.
    fn wait_exit(&mut self, seconds: u64) -> Option<i32> {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                Instant::now() < end,
                "waited {seconds} s for the end of the process\n{}",
                self.log()
            );
            sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
