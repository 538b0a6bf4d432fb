//! Looks at credentials beside an answer that somebody else gives: nobody is counted for a wrong one.

use std::net::IpAddr;
use std::sync::Arc;

use super::question::{Outcome, Question};
use super::{Guard, nobodys, wrong};
use crate::domain::client::{Client, Presented};
use crate::domain::refusal::{Fault, Refusal};
use crate::mapping::Snapshot;

impl Guard {
    /// As [`Guard::authenticate`] would answer, but a wrong secret is not counted: the caller is answered elsewhere. How many look
    /// at the same time, whoever asks this bounds.
    ///
    /// # Errors
    /// They are nobody's; or it cannot be found out now, which is our fault.
    pub async fn look(
        &self,
        snapshot: &Snapshot,
        presented: &Presented,
        address: IpAddr,
    ) -> Result<Arc<Client>, Refusal> {
        let question = Question::of(snapshot, presented, address, &self.books).uncounted();
        self.look_into(snapshot, presented, question, has_learned_nothing).await
    }

    /// The same of credentials that the old server has accepted: nobody guesses them, so however many wrong ones came of late, these are looked at; and
    /// a client that learns learns them just now.
    ///
    /// # Errors
    /// As above.
    pub async fn look_at_accepted(
        &self,
        snapshot: &Snapshot,
        presented: &Presented,
        address: IpAddr,
    ) -> Result<Arc<Client>, Refusal> {
        let question = Question::of(snapshot, presented, address, &self.books).uncounted().unlimited();
        self.look_into(snapshot, presented, question, |client| client.learned().is_some()).await
    }

    async fn look_into(
        &self,
        snapshot: &Snapshot,
        presented: &Presented,
        question: Question,
        may_be_learning: fn(&Client) -> bool,
    ) -> Result<Arc<Client>, Refusal> {
        if let Some(client) = self.recognize(snapshot, presented) {
            return Ok(client);
        }
        let client = question.client.clone();
        // The old server may be teaching it just now.
        let is_learning = client.as_deref().is_some_and(may_be_learning);
        let unknown = |detail| Refusal::server(Fault::Ourselves, detail);
        let Some(answer) = self.pool.run(question.network, move |argon| question.answer(argon)) else {
            return Err(unknown("too many secrets wait to be verified"));
        };
        match (answer.await, client) {
            (Ok(Outcome::Right(slot)), Some(client)) => {
                self.used(&client, slot);
                Ok(client)
            }
            (Ok(Outcome::Unverified(why)), _) => Err(unknown(why)),
            (Ok(Outcome::Wrong | Outcome::Right(_)), None) => Err(wrong(nobodys(snapshot, presented))),
            (Ok(Outcome::Wrong), Some(_)) if is_learning => {
                Err(unknown("its old secret is to be learned, and this one is not learned yet"))
            }
            (Ok(Outcome::Wrong), Some(_)) => Err(wrong("the secret is wrong")),
            (Err(_), _) => Err(unknown("too many secrets wait to be verified, or the verification was lost")),
        }
    }
}

fn has_learned_nothing(client: &Client) -> bool {
    client.learned().is_some_and(|(_, learned)| learned.hashes().is_empty())
}
