package passbridge.tools;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.time.Instant;
import java.util.EnumMap;
import java.util.Map;
import org.bouncycastle.operator.OperatorCreationException;

/** What one login of a legacy client carries: the cookie, the algorithm's name, the signature over the cookie. */
public record Login(String certificate, String algorithm, String signature, long expiresAt) {

    /** What may be wrong with a login, each refused by the realm for its own reason. */
    public enum Flaw {
        NONE,
        /** The client signed something else. */
        SIGNATURE,
        /** One bit of the cookie was changed, and the client signed the changed one. */
        CERTIFICATE,
        /** A Passport that the realm does not know issued the cookie. */
        ISSUER,
        /** Somebody else's key signed. */
        KEY,
        /** The form names the other algorithm. */
        ALGORITHM
    }

    /** What is wanted; seconds count from now and may be negative. */
    public record Wish(String user, Algorithm algorithm, long issuedIn, long expiresIn, int signatureLength, Flaw flaw) {
        public static Wish of(String user, Algorithm algorithm) {
            return new Wish(user, algorithm, 0, 600, 0, Flaw.NONE);
        }

        public Wish expiring(long seconds) {
            return new Wish(user, algorithm, Math.min(issuedIn, seconds - 1), seconds, signatureLength, flaw);
        }

        public Wish signatureOf(int length) {
            return new Wish(user, algorithm, issuedIn, expiresIn, length, flaw);
        }

        public Wish with(Flaw other) {
            return new Wish(user, algorithm, issuedIn, expiresIn, signatureLength, other);
        }
    }

    /** Makes logins; holds one key of each algorithm, made when first needed, and so belongs to one thread. */
    public static final class Maker {
        private final Passport passport = Passport.trusted();
        private final Map<Algorithm, ClientKey> keys = new EnumMap<>(Algorithm.class);
        private final Map<Algorithm, ClientKey> otherKeys = new EnumMap<>(Algorithm.class);

        public Login make(Wish wish) throws GeneralSecurityException, IOException {
            ClientKey key = key(keys, wish.algorithm());
            Instant now = Instant.now();
            Instant expires = now.plusSeconds(wish.expiresIn());
            Passport issuer = wish.flaw() == Flaw.ISSUER ? Passport.stranger() : passport;
            String cookie = issuer.issue(wish.user(), key.publicKey(), now.plusSeconds(wish.issuedIn()), expires);
            if (wish.flaw() == Flaw.CERTIFICATE) {
                cookie = tampered(cookie);
            }
            return sign(cookie, wish, expires.getEpochSecond());
        }

        /** Signs a cookie that an earlier call made, again. */
        public Login resign(String cookie, Wish wish) throws GeneralSecurityException, IOException {
            return sign(cookie, wish, 0);
        }

        private Login sign(String cookie, Wish wish, long expiresAt) throws GeneralSecurityException, IOException {
            ClientKey key = key(wish.flaw() == Flaw.KEY ? otherKeys : keys, wish.algorithm());
            String content = wish.flaw() == Flaw.SIGNATURE ? cookie + "?" : cookie;
            String signature = key.sign(content.getBytes(StandardCharsets.US_ASCII), wish.signatureLength());
            Algorithm named = wish.algorithm();
            if (wish.flaw() == Flaw.ALGORITHM) {
                named = named == Algorithm.RSA ? Algorithm.GOST : Algorithm.RSA;
            }
            return new Login(cookie, named.name(), signature, expiresAt);
        }

        private static ClientKey key(Map<Algorithm, ClientKey> from, Algorithm algorithm)
                throws GeneralSecurityException, IOException {
            ClientKey key = from.get(algorithm);
            if (key == null) {
                try {
                    key = new ClientKey(algorithm);
                } catch (OperatorCreationException e) {
                    throw new GeneralSecurityException(e);
                }
                from.put(algorithm, key);
            }
            return key;
        }

        /** Another expiry, of the same shape: characters 12 to 22 hold it. */
        private static String tampered(String cookie) {
            char replaced = cookie.charAt(20) == 'A' ? 'B' : 'A';
            return cookie.substring(0, 20) + replaced + cookie.substring(21);
        }
    }
}
