// SPDX-License-Identifier: Apache-2.0

//! Passwords and secret phrases, from a descriptor, a file, the environment, or a terminal.

use anyhow::{Context, Result, bail};
use clap::Args;
use pol_keystore::read_private;
use std::{
    env,
    fs::File,
    io::{self, IsTerminal, Read},
    path::PathBuf,
};
use zeroize::Zeroizing;

/// Environment variable with the password of a key.
pub(crate) const PASSWORD_VARIABLE: &str = "POL_PASSWORD";
/// Environment variable with the password that replaces it.
const NEW_PASSWORD_VARIABLE: &str = "POL_NEW_PASSWORD";
/// Maximum length of a password or a phrase in bytes.
const MAX_SECRET_BYTES: usize = 1024;
/// Minimum number of characters of a new password.
const MIN_PASSWORD_CHARACTERS: usize = 8;

/// Text that is wiped from memory.
pub(crate) type Secret = Zeroizing<String>;

/// Source of a key's password, if that is not the terminal.
#[derive(Args, Clone, Default)]
pub(crate) struct PasswordOptions {
    /// Read the password of the key from this file descriptor, up to the end of a line. Without it,
    /// the password is that of --password-file, or in the environment variable POL_PASSWORD, or
    /// asked for on the terminal.
    #[arg(long, value_name = "N")]
    pub(crate) password_fd: Option<u32>,
    /// Read the password of the key from the first line of a file that only its owner can read.
    #[arg(long, value_name = "FILE", conflicts_with = "password_fd")]
    pub(crate) password_file: Option<PathBuf>,
}

/// Source of the password that replaces that of a key.
#[derive(Args, Clone, Default)]
pub(crate) struct NewPasswordOptions {
    /// Read the new password from this file descriptor, up to the end of a line. Without it, it is
    /// that of --new-password-file, or in the environment variable POL_NEW_PASSWORD, or asked for
    /// on the terminal.
    #[arg(long, value_name = "N")]
    new_password_fd: Option<u32>,
    /// Read the new password from the first line of a file that only its owner can read.
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_fd")]
    new_password_file: Option<PathBuf>,
}

impl PasswordOptions {
    /// Returns the password of `key`, a name for people.
    pub(crate) fn password(&self, key: &str) -> Result<Secret> {
        match read_given(self.password_fd, self.password_file.as_ref(), PASSWORD_VARIABLE)? {
            Some(password) => Ok(password),
            None => prompt_password(&format!("Password of {key}: ")),
        }
    }

    /// Returns a password for a new key. On a terminal it is asked for twice.
    pub(crate) fn chosen(&self) -> Result<Secret> {
        let given = read_given(self.password_fd, self.password_file.as_ref(), PASSWORD_VARIABLE)?;
        choose(given, "Password for the key")
    }
}

impl NewPasswordOptions {
    /// Returns the new password. On a terminal it is asked for twice.
    pub(crate) fn chosen(&self) -> Result<Secret> {
        let (fd, file) = (self.new_password_fd, self.new_password_file.as_ref());
        choose(read_given(fd, file, NEW_PASSWORD_VARIABLE)?, "New password")
    }
}

/// Returns a secret phrase from the terminal, without an echo, or from the first line of another
/// standard input.
pub(crate) fn read_phrase() -> Result<Secret> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return prompt("Secret phrase: ");
    }
    read_line(stdin.lock()).context("secret phrase on standard input")
}

/// Returns the secret that a descriptor, a file or the environment has, in this order.
fn read_given(fd: Option<u32>, file: Option<&PathBuf>, variable: &str) -> Result<Option<Secret>> {
    if let Some(fd) = fd {
        let path = format!("/dev/fd/{fd}");
        let opened = File::open(path).with_context(|| format!("file descriptor {fd}"))?;
        return read_line(opened).with_context(|| format!("file descriptor {fd}")).map(Some);
    }
    if let Some(file) = file {
        let bytes = read_private(file).context("password file")?;
        return read_line(&bytes[..]).with_context(|| file.display().to_string()).map(Some);
    }
    match env::var(variable) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => bail!("{variable} is not UTF-8"),
    }
}

/// Returns a line without its end. Nothing after the line is read.
fn read_line(mut input: impl Read) -> Result<Secret> {
    // Of its size from the start, so that no copy stays behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES));
    let mut byte = [0];
    while input.read(&mut byte)? == 1 && byte != *b"\n" {
        if line.len() == MAX_SECRET_BYTES {
            bail!("the first line has more than {MAX_SECRET_BYTES} bytes");
        }
        line.extend(byte);
    }
    let text = std::str::from_utf8(&line).context("the first line is not UTF-8")?;
    Ok(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

/// Returns the given password for a new key, or the one that a person types twice.
fn choose(given: Option<Secret>, text: &str) -> Result<Secret> {
    let password = match given {
        Some(password) => password,
        None => {
            let password = prompt_password(&format!("{text}: "))?;
            if password != prompt("The same again: ")? {
                bail!("the two passwords differ; run the command again");
            }
            password
        }
    };
    if password.chars().count() < MIN_PASSWORD_CHARACTERS {
        bail!("a password has at least {MIN_PASSWORD_CHARACTERS} characters; choose a longer one");
    }
    Ok(password)
}

fn prompt_password(text: &str) -> Result<Secret> {
    if !io::stdin().is_terminal() {
        bail!(
            "no password is given and there is no terminal to ask on; use --password-fd, \
             --password-file, or the environment variable {PASSWORD_VARIABLE}"
        );
    }
    prompt(text)
}

fn prompt(text: &str) -> Result<Secret> {
    rpassword::prompt_password(text).map(Zeroizing::new).context("terminal")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_keystore::write_private;

    fn secret(text: &str) -> Secret {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn a_secret_is_the_first_line() {
        for text in ["word", "word\n", "word\r\n", "word\nrest"] {
            assert_eq!(read_line(text.as_bytes()).unwrap(), secret("word"), "{text:?}");
        }
        assert_eq!(read_line(&b""[..]).unwrap(), secret(""));
        assert!(read_line(&b"\xff\n"[..]).is_err());
        assert!(read_line(&[b'x'; MAX_SECRET_BYTES][..]).is_ok());
        assert!(read_line(io::repeat(b'x')).is_err(), "an endless line ends");
    }

    #[test]
    fn lines_of_one_descriptor_are_read_one_by_one() {
        let mut input = &b"first\nsecond\n"[..];
        assert_eq!(read_line(&mut input).unwrap(), secret("first"));
        assert_eq!(read_line(&mut input).unwrap(), secret("second"));
    }

    #[test]
    fn a_file_precedes_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        write_private(&path, b"correct horse\n").unwrap();
        let variable = "POL_TEST_NO_SUCH_PASSWORD";
        let given = read_given(None, Some(&path), variable).unwrap();
        assert_eq!(given, Some(secret("correct horse")));
        assert_eq!(read_given(None, None, variable).unwrap(), None);
        assert!(read_given(Some(u32::MAX), None, variable).is_err());
        assert!(read_given(None, Some(&folder.path().join("none")), variable).is_err());
    }

    #[test]
    fn new_passwords_are_long_enough() {
        assert!(choose(Some(secret("1234567")), "").is_err());
        assert!(choose(Some(secret("pässwörd")), "").is_ok());
    }
}
