package passbridge.passport;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.PublicKey;
import java.security.Signature;
import java.security.SignatureException;
import java.time.Instant;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;

/**
 * The cookie that Passport issued, read: 153 bytes in 204 characters of base64url.
 *
 * <pre>
 *   0      version, 1
 *   1..8   issued at, seconds since 1970, big endian
 *   9..16  expires at, likewise
 *  17..32  serial, random
 *  33..64  SHA-256 of the SubjectPublicKeyInfo of the key that the holder signs with
 *  65      length of the subject, 1 to 23
 *  66..88  subject, UTF-8, then zeros
 *  89..152 Ed25519 signature of Passport over 0..88
 * </pre>
 *
 * Of 153 bytes no bit is left over in base64, so each cookie has exactly one spelling.
 */
record PassportToken(Instant issuedAt, Instant expiresAt, String serial, byte[] keyDigest, String subject,
                     byte[] signedPart, byte[] issuerSignature) {
    static final int CHARACTERS = 204;
    private static final int SIGNED_BYTES = 89;
    private static final int SUBJECT_ROOM = 23;

    static PassportToken parse(String cookie) throws RefusedException {
        if (cookie.length() != CHARACTERS) {
            throw new RefusedException(Refusal.CERTIFICATE_MALFORMED);
        }
        byte[] bytes;
        try {
            bytes = Base64.getUrlDecoder().decode(cookie);
        } catch (IllegalArgumentException e) {
            throw new RefusedException(Refusal.CERTIFICATE_MALFORMED);
        }
        if (bytes.length != SIGNED_BYTES + 64 || bytes[0] != 1) {
            throw new RefusedException(Refusal.CERTIFICATE_MALFORMED);
        }
        ByteBuffer in = ByteBuffer.wrap(bytes).position(1);
        Instant issuedAt = instant(in.getLong());
        Instant expiresAt = instant(in.getLong());
        byte[] serial = take(in, 16);
        byte[] keyDigest = take(in, 32);
        String subject = subject(in.get(), take(in, SUBJECT_ROOM));
        return new PassportToken(issuedAt, expiresAt, HexFormat.of().formatHex(serial), keyDigest, subject,
                Arrays.copyOf(bytes, SIGNED_BYTES), take(in, 64));
    }

    /** Whether {@code issuer} signed it. Nothing else in the token means anything before this is true. */
    boolean isIssuedBy(PublicKey issuer) throws GeneralSecurityException {
        Signature verifier = Signature.getInstance("Ed25519");
        verifier.initVerify(issuer);
        verifier.update(signedPart);
        try {
            return verifier.verify(issuerSignature);
        } catch (SignatureException e) {
            return false; // Bytes that are no point of the curve: nobody's signature.
        }
    }

    private static byte[] take(ByteBuffer in, int count) {
        byte[] taken = new byte[count];
        in.get(taken);
        return taken;
    }

    private static Instant instant(long seconds) throws RefusedException {
        // Beyond the year 9999 it is no date but noise, and would overflow in comparisons with a skew.
        if (seconds < 0 || seconds > 253_402_300_799L) {
            throw new RefusedException(Refusal.CERTIFICATE_MALFORMED);
        }
        return Instant.ofEpochSecond(seconds);
    }

    private static String subject(byte length, byte[] room) throws RefusedException {
        if (length < 1 || length > SUBJECT_ROOM) {
            throw new RefusedException(Refusal.CERTIFICATE_MALFORMED);
        }
        try {
            CharBuffer text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(room, 0, length));
            return text.toString();
        } catch (CharacterCodingException e) {
            throw new RefusedException(Refusal.CERTIFICATE_MALFORMED);
        }
    }
}
