// SPDX-License-Identifier: Apache-2.0

//! Keys of accounts.

mod proxies;

use crate::{
    keyring::{self, Keyring},
    options::KeyOptions,
    password::{NewPasswordOptions, PasswordOptions, read_phrase},
};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use pol_chain::format_account;
use pol_keystore::{
    Cost, KeyFile, KeyFileError, Keystore, SecretKey, generate_phrase, replace, write_private,
};
use proxies::{AuthoriseOptions, ProxiesOptions, RevokeOptions};
use serde_json::json;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const EXAMPLES: &str = "\
Keys are encrypted with a password, in the format of Polkadot-JS: wallets read them, and files that
wallets export can be imported. A name is that of a key in ~/.local/share/pol-trainer/keys, or in
the folder that the environment variable POL_KEYS names.

Examples:
  pol-trainer keys generate trainer            make a key and print its address
  pol-trainer keys import main                 make it from a secret phrase, which is asked for
  pol-trainer keys import main --from w.json   import a file of a wallet
  pol-trainer keys list                        print all keys
  pol-trainer keys export main --out w.json    write a file for a wallet
  pol-trainer keys authorise ADDRESS --account main --bond trainer --fund 10
      have another key do the work of this account
  pol-trainer --account trainer                take part with this account";

/// Subcommands of `keys`.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum KeysCommand {
    /// Make a key, encrypt it with a password, and print its address.
    Generate(GenerateOptions),
    /// Import a key from a secret phrase or a file, encrypt it, and print its address.
    Import(ImportOptions),
    /// Print the names, addresses and kinds of all keys in the folder of keys.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the address of an account, never its secret. Needs no password.
    Show {
        #[command(flatten)]
        key: KeyOptions,
    },
    /// Write a key to a file that wallets import, under the same password.
    Export {
        /// Key to export: a name, or a file.
        #[arg(value_name = "NAME|FILE")]
        key: PathBuf,
        /// File to make. An existing file is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        password: PasswordOptions,
    },
    /// Encrypt a key with another password.
    ChangePassword {
        /// Key to encrypt again: a name, or a file.
        #[arg(value_name = "NAME|FILE")]
        key: PathBuf,
        #[command(flatten)]
        password: PasswordOptions,
        #[command(flatten)]
        new: NewPasswordOptions,
    },
    /// Let another key make calls for an account, as its proxy on the chain.
    Authorise(AuthoriseOptions),
    /// Take the permission of a proxy back.
    Revoke(RevokeOptions),
    /// Print the proxies of an account.
    Proxies(ProxiesOptions),
}

/// Place of a new key.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Target {
    /// Name of the key in the folder of keys.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// File to make instead. An existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Options of `keys generate`.
#[derive(Args)]
pub(crate) struct GenerateOptions {
    #[command(flatten)]
    target: Target,
    /// Print the secret phrase of the key on standard error, once. It restores the key in a wallet
    /// if the file or its password is lost.
    #[arg(long)]
    show_phrase: bool,
    /// Do not encrypt the key. Whoever reads the file then has the account and all its funds.
    #[arg(long, conflicts_with = "show_phrase")]
    plain: bool,
    #[command(flatten)]
    password: PasswordOptions,
}

/// Options of `keys import`.
#[derive(Args)]
pub(crate) struct ImportOptions {
    #[command(flatten)]
    target: Target,
    /// File that a wallet exported, or a plain key file. By default a secret phrase is asked for,
    /// or read from standard input if that is not a terminal.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordOptions,
}

/// Runs a subcommand of `keys`.
pub(crate) async fn run(command: KeysCommand) -> Result<()> {
    match command {
        KeysCommand::Generate(options) => options.run(),
        KeysCommand::Import(options) => options.run(),
        KeysCommand::List { json } => list(json),
        KeysCommand::Show { key } => {
            println!("{}", format_account(&key.key_account()?));
            Ok(())
        }
        KeysCommand::Export { key, out, password } => export(&key, &out, &password),
        KeysCommand::ChangePassword { key, password, new } => {
            change_password(&key, &password, &new)
        }
        KeysCommand::Authorise(options) => options.run().await,
        KeysCommand::Revoke(options) => options.run().await,
        KeysCommand::Proxies(options) => options.run().await,
    }
}

impl Target {
    /// Returns the path of the new key, and its name for people. Nothing exists there.
    fn prepare(&self) -> Result<(PathBuf, String)> {
        let path = match (&self.name, &self.out) {
            (Some(name), _) => {
                let keyring = Keyring::of_user()?;
                let path = keyring.path(name)?;
                keyring.create()?;
                path
            }
            (None, Some(out)) => out.clone(),
            (None, None) => bail!("name the key, or a file with --out"),
        };
        // Before a password is asked for.
        if path.exists() {
            bail!("{} exists already and is left as it is: choose another name", path.display());
        }
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        Ok((path, name.unwrap_or_default()))
    }

    /// Encrypts `key` with `password` and writes it.
    fn write(&self, key: &SecretKey, password: &str) -> Result<()> {
        let (path, name) = self.prepare()?;
        let keystore = Keystore::encrypt(key, password, &name, Cost::STANDARD)?;
        write_private(&path, &keystore.to_json()).context("key file")?;
        println!("{}", format_account(&key.account()));
        Ok(())
    }
}

impl GenerateOptions {
    fn run(&self) -> Result<()> {
        let (path, _) = self.target.prepare()?;
        if self.plain {
            return write_plain(&path);
        }
        let phrase = generate_phrase()?;
        self.target.write(&SecretKey::from_uri(&phrase)?, &self.password.chosen()?)?;
        if self.show_phrase {
            eprintln!("Secret phrase, to keep on paper and from everybody:\n{}", *phrase);
        }
        Ok(())
    }
}

/// Makes a key that is not encrypted.
fn write_plain(path: &Path) -> Result<()> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut seed[..])
        .map_err(|error| anyhow::anyhow!("the operating system gives no randomness: {error}"))?;
    write_private(path, &KeyFile::plain_json(&seed)?).context("key file")?;
    println!("{}", format_account(&SecretKey::from_seed(&seed)?.account()));
    eprintln!(
        "warning: {} is not encrypted; whoever reads it has the account and all its funds",
        path.display()
    );
    Ok(())
}

impl ImportOptions {
    fn run(&self) -> Result<()> {
        self.target.prepare()?;
        let Some(from) = &self.from else {
            let key = SecretKey::from_uri(&read_phrase()?)?;
            return self.target.write(&key, &self.password.chosen()?);
        };
        match KeyFile::read_foreign(from)? {
            KeyFile::Plain(key) => self.target.write(&key, &self.password.chosen()?),
            KeyFile::Encrypted(keystore) => {
                let password = self.password.password(&from.display().to_string())?;
                let key = keystore.decrypt(&password).map_err(named(from))?;
                self.target.write(&key, &password)
            }
        }
    }
}

/// Returns a function that adds a file's name to an error.
fn named(path: &Path) -> impl Fn(pol_keystore::KeystoreError) -> KeyFileError {
    move |error| KeyFileError::Keystore { path: path.to_owned(), error }
}

/// Prints all keys of the folder.
fn list(json: bool) -> Result<()> {
    for (name, key) in Keyring::of_user()?.list()? {
        let kind = match &key {
            Ok(KeyFile::Encrypted(_)) => "encrypted".to_owned(),
            Ok(KeyFile::Plain(_)) => "not encrypted".to_owned(),
            Err(error) => error.to_string(),
        };
        let address = key.ok().map(|key| format_account(&key.account()));
        if json {
            println!("{}", json!({ "name": name, "address": address, "kind": kind }));
        } else {
            println!("{name:<16}  {:<48}  {kind}", address.unwrap_or_default());
        }
    }
    Ok(())
}

/// Returns the keystore of a key, its path, and its password, which is right.
fn open(key: &Path, password: &PasswordOptions) -> Result<(PathBuf, Keystore, Zeroizing<String>)> {
    let path = keyring::find(key)?;
    match KeyFile::read(&path)? {
        KeyFile::Plain(_) => bail!(
            "{} is not encrypted; `pol-trainer keys import NAME --from {}` makes an encrypted copy",
            path.display(),
            path.display()
        ),
        KeyFile::Encrypted(keystore) => {
            let password = password.password(&path.display().to_string())?;
            Ok((path, keystore, password))
        }
    }
}

/// Writes a key to a file of its own.
fn export(key: &Path, out: &Path, password: &PasswordOptions) -> Result<()> {
    let (path, keystore, password) = open(key, password)?;
    let copy = keystore.with_password(&password, &password, Cost::STANDARD);
    write_private(out, &copy.map_err(named(&path))?.to_json()).context("key file")?;
    println!("{}", format_account(&keystore.account()));
    Ok(())
}

/// Encrypts a key with another password.
fn change_password(key: &Path, old: &PasswordOptions, new: &NewPasswordOptions) -> Result<()> {
    let (path, keystore, old) = open(key, old)?;
    // A wrong password is refused before a new one is asked for.
    keystore.decrypt(&old).map_err(named(&path))?;
    let changed = keystore.with_password(&old, &new.chosen()?, Cost::STANDARD);
    replace(&path, &changed.map_err(named(&path))?.to_json()).context("key file")?;
    println!("{}", format_account(&keystore.account()));
    Ok(())
}
