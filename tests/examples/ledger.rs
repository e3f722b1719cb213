//! A program that keeps its data in an SQLCipher database, as one that `bulla exec` gives the key to:
//!
//! ```text
//! bulla exec --key db.ring   -- ledger ledger.db {key} add 'a line'
//! bulla exec --key db.ring   -- ledger ledger.db {key} list
//! bulla exec --key db.ring:1 --key db.ring:2 -- ledger ledger.db {key:1} rekey {key:2}
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use zeroize::Zeroizing;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let [database, key, command @ ..] = words.as_slice() else {
        return Err("ledger DATABASE KEYFILE add TEXT | list | check | fill LINES | rekey KEYFILE".into());
    };
    let database = open(database, key)?;
    match command {
        ["add", text] => {
            database.execute("INSERT INTO ledger (text) VALUES (?1)", [text])?;
        }
        ["list"] => {
            let mut statement = database.prepare("SELECT text FROM ledger ORDER BY id")?;
            for text in statement.query_map([], |row| row.get::<_, String>(0))? {
                println!("{}", text?);
            }
        }
        ["check"] => {
            let count: u32 = database.query_row("SELECT count(*) FROM ledger", [], |row| row.get(0))?;
            let state: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            println!("{count}\n{state}");
        }
        ["fill", lines] => {
            database.execute(
                "WITH RECURSIVE line(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM line WHERE n < ?1)
                 INSERT INTO ledger (text) SELECT 'line ' || n || ' ' || hex(randomblob(400)) FROM line",
                [lines.parse::<u32>()?],
            )?;
        }
        ["rekey", to] => {
            // A small cache, so that pages reach the file before all are done: the most that a crash can meet.
            database.pragma_update(None, "cache_size", 5)?;
            database.pragma_update(None, "rekey", quoted(to)?.as_str())?;
        }
        _ => return Err(format!("unknown command {command:?}").into()),
    }
    Ok(())
}

/// Opens the database. The first read shows whether the key was right.
fn open(database: &str, key: &str) -> Result<Connection, Box<dyn Error>> {
    let database = Connection::open(database)?;
    database.pragma_update(None, "key", quoted(key)?.as_str())?;
    database.execute("CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, text TEXT NOT NULL)", [])?;
    Ok(database)
}

/// A key as SQLCipher takes it: not a passphrase to stretch, but the 32 bytes themselves.
fn quoted(file: impl AsRef<Path>) -> Result<Zeroizing<String>, Box<dyn Error>> {
    let key = Zeroizing::new(fs::read(file)?);
    if key.len() != 32 {
        return Err("a key has 32 bytes".into());
    }
    let mut quoted = Zeroizing::new(String::with_capacity(67));
    quoted.push_str("x'");
    for byte in key.iter() {
        for nibble in [byte >> 4, byte & 15] {
            quoted.extend(char::from_digit(nibble.into(), 16));
        }
    }
    quoted.push('\'');
    Ok(quoted)
}
