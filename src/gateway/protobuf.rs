//! PURE: as much of protobuf's wire format as a question and its answer need: numbers, and fields of a length.

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The fields of a message that have a length, by number, in their order: texts, bytes, messages. Others are passed over.
#[derive(Debug)]
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl<'b> Fields<'b> {
    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: u64) -> Result<&'b [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<Option<(u64, &'b [u8])>, Malformed> {
        let tag = self.number()?;
        match tag & 7 {
            0 => self.number().map(|_| None),
            1 => self.take(8).map(|_| None),
            2 => {
                let length = self.number()?;
                self.take(length).map(|bytes| Some((tag >> 3, bytes)))
            }
            5 => self.take(4).map(|_| None),
            // Groups: nobody has written one for twenty years.
            _ => Err(Malformed),
        }
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u64, &'b [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match self.field() {
                Ok(None) => {}
                Ok(Some(field)) => return Some(Ok(field)),
                Err(malformed) => {
                    self.0 = &[];
                    return Some(Err(malformed));
                }
            }
        }
        None
    }
}

/// A message that is being written.
#[derive(Debug, Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn number(mut self, field: u8, number: u64) -> Self {
        self.put(u64::from(field) << 3);
        self.put(number);
        self
    }

    pub(super) fn bytes(mut self, field: u8, bytes: &[u8]) -> Self {
        self.put(u64::from(field) << 3 | 2);
        self.put(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn message(self, field: u8, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_written_as_the_format_says() {
        // The examples of the format's own description.
        assert_eq!(Message::default().number(1, 150).0, [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().bytes(2, b"testing").0, b"\x12\x07testing");
        let inner = Message::default().number(1, 150);
        assert_eq!(Message::default().message(3, &inner).0, [0x1a, 0x03, 0x08, 0x96, 0x01]);
    }

    #[test]
    fn numbers_of_any_width_are_passed_over() {
        let mut bytes = Message::default().number(1, u64::MAX).bytes(2, b"a").0;
        bytes.extend_from_slice(b"\x19\x01\x02\x03\x04\x05\x06\x07\x08\x25\x01\x02\x03\x04\x12\x01b");
        let fields: Vec<_> = Fields(&bytes).collect();
        assert_eq!(fields, [Ok((2, b"a".as_slice())), Ok((2, b"b".as_slice()))]);
    }

    #[test]
    fn what_ends_too_soon_or_goes_on_too_long_is_malformed() {
        for bytes in [
            b"\x12\x07test".as_slice(),
            b"\x12",
            b"\x80",
            b"\x0b",
            &[0xff; 11],
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(Fields(bytes).last(), Some(Err(Malformed)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields(&bytes).count() <= bytes.len());
        }

        #[test]
        fn what_was_written_is_read_back(parts in prop::collection::vec((1u8..100, prop::collection::vec(any::<u8>(), 0..300)), 0..9)) {
            let message = parts.iter().fold(Message::default(), |message, (field, bytes)| message.bytes(*field, bytes).number(*field, 7));
            let read: Vec<_> = Fields(&message.0).map(|field| field.unwrap()).map(|(field, bytes)| (u8::try_from(field).unwrap(), bytes.to_vec())).collect();
            prop_assert_eq!(read, parts);
        }
    }
}
