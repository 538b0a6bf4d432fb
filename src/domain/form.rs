//! The parameters of a request, in their order, with duplicates visible. Values are wiped when dropped.

use super::wiped::Wiped;

/// Names and values as the client sent them, form-decoded.
#[derive(Clone, Default)]
pub struct Form(Vec<(String, Wiped<String>)>);

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Form {
    /// Adds a parameter behind the others.
    pub fn push(&mut self, name: String, value: String) {
        self.0.push((name, Wiped::new(value)));
    }

    /// Adds all of another form behind.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The first value of this name. An empty one counts as not sent (RFC 6749 section 3.2).
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// All names and values, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Every value of this name that is not empty, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = move |(known, value): &'a (String, Wiped<String>)| (known == name).then_some(value.as_str());
        self.0.iter().filter_map(of_name).filter(|value| !value.is_empty())
    }

    /// A name that comes more than once.
    #[must_use]
    pub fn duplicate(&self) -> Option<&str> {
        self.0
            .iter()
            .enumerate()
            .find(|(index, (name, _))| self.0.iter().take(*index).any(|(known, _)| known == name))
            .map(|(_, (name, _))| name.as_str())
    }

    /// How many parameters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
