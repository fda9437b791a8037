// SPDX-License-Identifier: Apache-2.0

use crate::{harness::Network, process::POLL_INTERVAL};
use serde_json::json;
use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Lines and columns of the terminal.
const SIZE: (usize, usize) = (24, 80);
/// Longest time that the program takes to end.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Program that draws on a terminal of its own, by `script` of util-linux.
struct Display {
    child: Child,
    /// Folder of the output, the process identifier, and the terminal's state at the end.
    folder: PathBuf,
}

impl Display {
    fn start(network: &Network, name: &str) -> Self {
        let folder = network.path(name);
        fs::create_dir(&folder).unwrap();
        let (lines, columns) = SIZE;
        let commands = format!(
            "stty rows {lines} cols {columns}; \
             sh -c 'echo $$ >pid; exec \"$POL_TRAINER\" top --dev-account alice'; \
             echo \"status $?\" >end; stty -a >>end"
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--command", &commands, "/dev/null"]);
        script.env("POL_TRAINER", env!("CARGO_BIN_EXE_pol-trainer"));
        script.env("POL_NODE", network.node_url()).env("TERM", "xterm").env("SHELL", "/bin/sh");
        let output = fs::File::create(folder.join("output")).unwrap();
        script.current_dir(&folder).stdin(Stdio::piped()).stdout(output);
        Self { child: script.spawn().unwrap(), folder }
    }

    fn press(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("output")).unwrap()).into_owned()
    }

    /// Waits until the screen shows `text`.
    fn wait_for(&self, text: &str, seconds: u64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !screen(&self.output()).contains(text) {
            let shown = screen(&self.output());
            assert!(Instant::now() < end, "waited {seconds} s for '{text}'\n{shown}");
            sleep(POLL_INTERVAL);
        }
    }

    /// Sends a signal to the program.
    fn signal(&self, name: &str) {
        let pid = fs::read_to_string(self.folder.join("pid")).unwrap();
        assert!(Command::new("kill").args(["-s", name, pid.trim()]).status().unwrap().success());
    }

    /// Waits for the end, and checks that the terminal is as it was.
    fn check_end(mut self) {
        let (path, limit) = (self.folder.join("end"), Instant::now() + END_LIMIT);
        // Its input ends only afterwards, which would end it too.
        while !fs::read_to_string(&path).is_ok_and(|end| end.contains("echo")) {
            assert!(Instant::now() < limit, "it does not end\n{}", screen(&self.output()));
            sleep(POLL_INTERVAL);
        }
        self.child.wait().unwrap();
        let end = fs::read_to_string(&path).unwrap();
        let words: Vec<_> = end.split([' ', '\n', ';']).collect();
        assert!(end.starts_with("status 0\n"), "{end}\n{}", self.output());
        assert!(words.contains(&"icanon") && words.contains(&"echo"), "{end}");
        let output = self.output();
        assert_eq!(output.matches("\x1b[?1049h").count(), 1, "{output}");
        let (_, after) = output.rsplit_once("\x1b[?1049l").unwrap();
        assert!(after.contains("\x1b[?25h"), "the cursor is shown again: {after:?}");
    }
}

/// Returns the screen that the output of a program leaves: its text, moves of the cursor, and
/// erasures. Styles are left out.
fn screen(output: &str) -> String {
    let (lines, columns) = SIZE;
    let mut cells = vec![vec![' '; columns]; lines];
    let (mut line, mut column) = (0, 0);
    let mut rest = output.chars();
    while let Some(character) = rest.next() {
        if character != '\x1b' {
            let cell = cells.get_mut(line).and_then(|cells| cells.get_mut(column));
            if let Some(cell) = cell.filter(|_| !character.is_control()) {
                *cell = character;
                column += 1;
            }
            continue;
        }
        if rest.next() != Some('[') {
            continue;
        }
        let (mut numbers, mut end) = (String::new(), ' ');
        for next in rest.by_ref() {
            if next.is_ascii_alphabetic() {
                end = next;
                break;
            }
            numbers.push(next);
        }
        match end {
            'H' => {
                let place = |text: &str| text.parse::<usize>().unwrap_or(1).max(1) - 1;
                let (to_line, to_column) = numbers.split_once(';').unwrap_or(("1", "1"));
                (line, column) = (place(to_line), place(to_column));
            }
            'J' => cells.iter_mut().flatten().for_each(|cell| *cell = ' '),
            _ => {}
        }
    }
    cells.into_iter().map(|cells| cells.into_iter().collect::<String>() + "\n").collect()
}

#[test]
fn scripts_get_a_frame_as_text_or_json() {
    let network = Network::new();
    let node = network.ready_node();
    let text = network.run(&["top", "--once", "--dev-account", "alice"]);
    for part in ["Round", "no model yet", "alice", "authority", "No audit is open.", "held"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
    // Each cell takes memory.
    let mut script = Command::new("script");
    let huge = "stty rows 60000 cols 60000; \"$POL_TRAINER\" top";
    script.args(["--quiet", "--command", huge, "/dev/null"]).stdin(Stdio::null());
    script.env("POL_TRAINER", env!("CARGO_BIN_EXE_pol-trainer")).env("TERM", "xterm");
    let output = script.env("POL_NODE", network.node_url()).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("claims 60000 × 60000 cells"), "{shown}");
    // Standard output is no terminal here.
    assert!(network.run(&["top"]).contains("No audit is open."));
    let facts = network.run_json(&["top", "--json"]);
    assert_eq!(facts["members"][0]["role"], "authority");
    assert_eq!((&facts["account"], &facts["head"]), (&json!(null), &json!(null)));
    node.kill();
    let refused = network.try_run(&["top", "--once", "--dev-account", "-"]);
    assert!(!refused.status.success());
}

#[test]
fn a_terminal_shows_the_network_and_is_restored() {
    let network = Network::new();
    let node = network.ready_node();
    let mut display = Display::start(&network, "keys");
    display.wait_for("live", 30);
    display.wait_for("between two rounds", 10);
    display.press("2");
    display.wait_for("10000 POL", 10);
    display.press("5");
    display.wait_for("this account", 10);
    node.kill();
    display.wait_for("reconnecting", 30);
    display.press("\t");
    display.wait_for("Events (UTC)", 10);
    let node = network.ready_node();
    display.wait_for("live", 30);
    display.press("q");
    display.check_end();

    for signal in ["TERM", "HUP"] {
        let display = Display::start(&network, signal);
        display.wait_for("live", 30);
        display.signal(signal);
        display.check_end();
    }
    node.kill();
}
