package passbridge.tools;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.time.Instant;
import java.util.Base64;
import org.bouncycastle.crypto.params.Ed25519PrivateKeyParameters;
import org.bouncycastle.crypto.signers.Ed25519Signer;

/**
 * The test realm's Passport: the party that knows people and issues their cookies ({@code MicexPassportCert}).
 *
 * <p>A cookie says "until then, whoever signs with this key is this user". Its layout is in keycloak/README.md and is
 * written here and read in passport-spi independently: they are two parties, and the tests make them agree.
 */
public final class Passport {
    /** Not a secret: the test Passport's key comes from this sentence, so that no key file lies in the repository. */
    private static final String TEST_KEY_PHRASE = "passbridge test realm's Passport, which nobody must trust";

    static final int LONGEST_SUBJECT = 23;
    private static final int SIGNED_BYTES = 89;

    private final Ed25519PrivateKeyParameters key;
    private final SecureRandom random = new SecureRandom();

    private Passport(String phrase) {
        key = new Ed25519PrivateKeyParameters(sha256(phrase.getBytes(StandardCharsets.UTF_8)));
    }

    /** The one that the test realm trusts. */
    public static Passport trusted() {
        return new Passport(TEST_KEY_PHRASE);
    }

    /** Another one, whose cookies look right and must be refused. */
    public static Passport stranger() {
        return new Passport(TEST_KEY_PHRASE + ", and this one less than nobody");
    }

    /** What the realm is told to trust: X.509 SubjectPublicKeyInfo, base64. */
    public String publicKey() {
        byte[] prefix = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
        byte[] point = key.generatePublicKey().getEncoded();
        return Base64.getEncoder().encodeToString(
                ByteBuffer.allocate(prefix.length + point.length).put(prefix).put(point).array());
    }

    /** A cookie of 204 characters for {@code subject}, who will sign with {@code holder}. */
    public String issue(String subject, PublicKey holder, Instant issuedAt, Instant expiresAt) {
        byte[] name = subject.getBytes(StandardCharsets.UTF_8);
        if (name.length == 0 || name.length > LONGEST_SUBJECT) {
            throw new IllegalArgumentException("a passport holds a user name of 1 to " + LONGEST_SUBJECT + " bytes");
        }
        byte[] serial = new byte[16];
        random.nextBytes(serial);
        ByteBuffer cookie = ByteBuffer.allocate(SIGNED_BYTES + 64)
                .put((byte) 1)
                .putLong(issuedAt.getEpochSecond())
                .putLong(expiresAt.getEpochSecond())
                .put(serial)
                .put(sha256(holder.getEncoded()))
                .put((byte) name.length)
                .put(name);
        Ed25519Signer signer = new Ed25519Signer();
        signer.init(true, key);
        signer.update(cookie.array(), 0, SIGNED_BYTES);
        cookie.position(SIGNED_BYTES);
        cookie.put(signer.generateSignature());
        return Base64.getUrlEncoder().withoutPadding().encodeToString(cookie.array());
    }

    private static byte[] sha256(byte[] bytes) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(bytes);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }
}
