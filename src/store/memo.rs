//! What the bridge remembers of a client besides its logins: few, small, and kept until they are forgotten by name.

/// One thing to remember. The name is unique; what the value means its writer knows. Nothing secret goes in unsealed or unhashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memo {
    /// `KIND/CLIENT`, or `KIND` alone where it is about no client.
    pub name: String,
    /// The bytes.
    pub value: Vec<u8>,
}
