//! Usage rules: which keys there are, for whom, and how often.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bulla_protocol::v1::{Binding, Selector};

/// What is known of who wants keys, and to what they are to be bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use<'a> {
    pub(crate) binding: &'a Binding,
    /// Those of the guest's registers that are known, by name as in [`GuestRegisters::NAMES`](bulla_tee::GuestRegisters::NAMES).
    pub(crate) registers: &'a [(&'static str, [u8; 48])],
    pub(crate) way: Way,
    /// Unix seconds, as far as the host's clock is believed.
    pub(crate) now: u64,
}

/// How keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With evidence for this request.
    Order,
    /// In a session that has given so many keys already.
    Session(u32),
    /// The public half alone, for a guest that is described. How that guest will ask for the other half is not known.
    Described,
}

/// One rule. What is `None` is not asked about; an empty set accepts nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(super) path: Pattern,
    pub(super) purposes: Option<BTreeSet<String>>,
    /// By [`name`](bulla_protocol::v1::Algorithm::as_str).
    pub(super) algorithms: Option<BTreeSet<&'static str>>,
    pub(super) lengths: Option<BTreeSet<u16>>,
    pub(super) bindings: Option<BTreeSet<BindingName>>,
    pub(super) claims: Claims,
    pub(super) session: Sessions,
    pub(super) session_keys: Option<u32>,
    /// Unix seconds.
    pub(super) not_after: Option<u64>,
}

/// What a guest has to show beside being accepted at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// Of these owners.
    pub(super) owners: Option<BTreeSet<[u8; 32]>>,
    /// Of these products.
    pub(super) products: Option<BTreeSet<String>>,
    /// Asked for at this SVN or a higher one.
    pub(super) min_svn: Option<u32>,
    /// Accepted values by name, as in [`Use::registers`].
    pub(super) registers: BTreeMap<&'static str, BTreeSet<[u8; 48]>>,
}

/// A binding as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BindingName {
    Measurement,
    Owner,
    /// Name and version of a register policy.
    Registers(String, u32),
}

/// Whether a rule is for keys given in sessions, outside of them, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sessions {
    #[default]
    Any,
    Only,
    Never,
}

/// Whether for each key some rule allows it. No rule allows more because of another, so the order of rules means nothing.
///
/// # Errors
/// The cause to record: for the first key that none allows, where the rule that came closest ended.
pub(crate) fn allows(rules: &[Rule], wanted: &Use<'_>, keys: &[Selector]) -> Result<(), &'static str> {
    if rules.is_empty() {
        return Ok(());
    }
    let mut way = wanted.way;
    for key in keys {
        allows_one(rules, &Use { way, ..*wanted }, key)?;
        if let Way::Session(given) = &mut way {
            *given = given.saturating_add(1);
        }
    }
    Ok(())
}

fn allows_one(rules: &[Rule], wanted: &Use<'_>, key: &Selector) -> Result<(), &'static str> {
    let mut closest = 0;
    for rule in rules {
        match rule.first_broken(wanted, key) {
            None => return Ok(()),
            Some(clause) => closest = closest.max(clause),
        }
    }
    Err(CAUSES.get(closest).copied().unwrap_or("usage.path"))
}

/// One for each clause of [`Rule::first_broken`], in its order.
const CAUSES: [&str; 12] = [
    "usage.path",
    "usage.purpose",
    "usage.algorithm",
    "usage.length",
    "usage.binding",
    "usage.owner",
    "usage.product",
    "usage.min_svn",
    "usage.registers",
    "usage.session",
    "usage.session_keys",
    "usage.not_after",
];

impl Rule {
    /// The number of the first clause that does not hold.
    fn first_broken(&self, wanted: &Use<'_>, key: &Selector) -> Option<usize> {
        let (owner, product, svn) = match wanted.binding {
            Binding::Owner { owner, product, svn } => (Some(owner), Some(product), Some(*svn)),
            Binding::Measurement | Binding::Registers { .. } => (None, None, None),
        };
        let Claims { owners, products, min_svn, registers } = &self.claims;
        let accepted = |(name, value): &(&'static str, [u8; 48])| {
            registers.get(name).is_none_or(|values| values.contains(value))
        };
        let clauses: [bool; CAUSES.len()] = [
            self.path.matches(&key.path),
            self.purposes.as_ref().is_none_or(|set| set.contains(&key.purpose)),
            self.algorithms.as_ref().is_none_or(|set| set.contains(key.algorithm.as_str())),
            self.lengths.as_ref().is_none_or(|set| set.contains(&key.length)),
            self.bindings.as_ref().is_none_or(|set| set.iter().any(|name| name.is(wanted.binding))),
            owners.as_ref().is_none_or(|set| owner.is_some_and(|owner| set.contains(owner))),
            products.as_ref().is_none_or(|set| product.is_some_and(|product| set.contains(product))),
            min_svn.is_none_or(|min| svn.is_some_and(|svn| svn >= min)),
            wanted.registers.iter().all(accepted),
            match wanted.way {
                Way::Order => self.session != Sessions::Only,
                Way::Session(_) => self.session != Sessions::Never,
                Way::Described => true,
            },
            match (wanted.way, self.session_keys) {
                (Way::Session(given), Some(most)) => given < most,
                _ => true,
            },
            self.not_after.is_none_or(|end| wanted.now < end),
        ];
        clauses.iter().position(|holds| !holds)
    }
}

impl BindingName {
    fn is(&self, binding: &Binding) -> bool {
        match (self, binding) {
            (Self::Measurement, Binding::Measurement) | (Self::Owner, Binding::Owner { .. }) => true,
            (Self::Registers(name, version), Binding::Registers { name: wanted, version: number }) => {
                name == wanted && version == number
            }
            _ => false,
        }
    }
}

/// A pattern of paths: parts between slashes, of which `*` stands for exactly one, and `**`, at the end, for one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(String);

impl Pattern {
    /// Reads a pattern: 1 to 256 printable ASCII characters, in which a star is a whole part.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("the path {text:?} {why}"));
        if !(1..=256).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return bad("must be 1 to 256 printable characters without spaces");
        }
        let mut parts = text.split('/').peekable();
        while let Some(part) = parts.next() {
            if part == "**" && parts.peek().is_some() {
                return bad("has ** before its end");
            }
            if part.contains('*') && part != "*" && part != "**" {
                return bad("has a star beside other characters of a part: it stands for a whole one");
            }
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn matches(&self, path: &str) -> bool {
        let (mut wanted, mut found) = (self.0.split('/'), path.split('/'));
        loop {
            match (wanted.next(), found.next()) {
                (None, None) | (Some("**"), Some(_)) => return true,
                (Some("*"), Some(_)) => {}
                (Some(wanted), Some(found)) if wanted == found => {}
                _ => return false,
            }
        }
    }
}
