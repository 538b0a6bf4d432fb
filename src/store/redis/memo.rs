//! Memos: one hash, name to record.

use redis::{FromRedisValue, cmd};

use super::{Redis, bytes, corrupt, keys, scripts};
use crate::store::memo::Memo;
use crate::store::{Gathered, StoreError, record};

impl Redis {
    pub(in crate::store) async fn memo(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let answer = self.read(cmd("HGET").arg(keys::MEMOS).arg(name).to_owned()).await?;
        bytes(answer).map(|bytes| opened(name, &bytes)).transpose()
    }

    pub(in crate::store) async fn memos(&self) -> Result<Gathered<Memo>, StoreError> {
        let answer = self.read(cmd("HGETALL").arg(keys::MEMOS).to_owned()).await?;
        let pairs: Vec<(String, Vec<u8>)> =
            FromRedisValue::from_redis_value(answer).map_err(|_| corrupt(keys::MEMOS, record::Damage::Shape))?;
        let mut memos = Gathered::default();
        for (name, bytes) in pairs {
            let value = memos.sound(opened(&name, &bytes))?;
            memos.records.extend(value.map(|value| Memo { name, value }));
        }
        Ok(memos)
    }

    pub(in crate::store) async fn memo_put(&self, memo: &Memo) -> Result<(), StoreError> {
        let record = record::encode(memo.name.as_bytes(), &memo.value);
        let put = cmd("HSET").arg(keys::MEMOS).arg(&memo.name).arg(record).to_owned();
        self.write(vec![put], true).await.map(drop)
    }

    pub(in crate::store) async fn memo_replace(&self, before: Option<&[u8]>, memo: &Memo) -> Result<bool, StoreError> {
        let stored = |value: &[u8]| record::encode(memo.name.as_bytes(), &value);
        let replace = scripts::memo(&memo.name, &before.map(stored).unwrap_or_default(), &stored(&memo.value));
        let answers = self.write(vec![replace], true).await?;
        answers
            .into_iter()
            .next()
            .map_or(Ok(false), FromRedisValue::from_redis_value)
            .map_err(|_| corrupt(keys::MEMOS, record::Damage::Shape))
    }

    pub(in crate::store) async fn memo_delete(&self, name: &str) -> Result<(), StoreError> {
        self.write(vec![cmd("HDEL").arg(keys::MEMOS).arg(name).to_owned()], true).await.map(drop)
    }
}

fn opened(name: &str, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    record::decode(name.as_bytes(), bytes).map_err(|damage| corrupt(name, damage))
}
