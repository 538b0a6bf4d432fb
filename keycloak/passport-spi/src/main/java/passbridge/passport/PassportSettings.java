package passbridge.passport;

import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import org.keycloak.provider.ProviderConfigProperty;
import org.keycloak.provider.ProviderConfigurationBuilder;

/** What a realm's administrator sets on the execution, per flow, and so per realm or per client. */
record PassportSettings(PublicKey issuer, String certificateField, String userAttribute, Duration skew, boolean once) {
    static final String ISSUER_KEY = "passport.issuer.key";
    static final String CERTIFICATE_FIELD = "passport.certificate.field";
    static final String USER_ATTRIBUTE = "passport.user.attribute";
    static final String CLOCK_SKEW = "passport.clock.skew";
    static final String ONCE = "passport.once";

    /** Seconds by which clocks are apart that nobody looks after; what is beyond was meant as another unit. */
    private static final long MOST_SKEW = 300;

    static final List<ProviderConfigProperty> PROPERTIES = ProviderConfigurationBuilder.create()
            .property(ISSUER_KEY, "Passport's public key",
                    "Ed25519 key of the Passport whose cookies are believed: X.509 SubjectPublicKeyInfo, base64.",
                    ProviderConfigProperty.STRING_TYPE, "", null)
            .property(CERTIFICATE_FIELD, "Field of the cookie",
                    "Form field that carries the cookie MicexPassportCert.",
                    ProviderConfigProperty.STRING_TYPE, "certificate", null)
            .property(USER_ATTRIBUTE, "User attribute",
                    "Attribute that holds the passport's subject, and that users cannot edit; empty: the subject is the user name.",
                    ProviderConfigProperty.STRING_TYPE, "", null)
            .property(CLOCK_SKEW, "Clock skew, seconds",
                    "By how much the clocks of Passport and this server may differ, 0 to 300.",
                    ProviderConfigProperty.STRING_TYPE, "0", null)
            .property(ONCE, "Passport can be used once",
                    "Refuses a cookie that has logged somebody in before, by a step of this realm that has this set. Kept in memory: forgotten when all nodes were down.",
                    ProviderConfigProperty.BOOLEAN_TYPE, "false", null)
            .build();

    /** A value that cannot be taken as it was meant lets nobody in: read otherwise it could let in too many. */
    static PassportSettings of(Map<String, String> config) throws RefusedException {
        return new PassportSettings(
                issuer(text(config, ISSUER_KEY, "")),
                text(config, CERTIFICATE_FIELD, "certificate"),
                text(config, USER_ATTRIBUTE, ""),
                skew(text(config, CLOCK_SKEW, "0")),
                once(text(config, ONCE, "false")));
    }

    private static PublicKey issuer(String text) throws RefusedException {
        try {
            byte[] encoded = Base64.getDecoder().decode(text);
            PublicKey key = KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(encoded));
            // Any 32 bytes make a key; whether they are a point of the curve is seen only here.
            Signature.getInstance("Ed25519").initVerify(key);
            return key;
        } catch (GeneralSecurityException | IllegalArgumentException e) {
            throw new RefusedException(Refusal.MISCONFIGURED);
        }
    }

    private static Duration skew(String text) throws RefusedException {
        try {
            long seconds = Long.parseLong(text);
            if (seconds >= 0 && seconds <= MOST_SKEW) {
                return Duration.ofSeconds(seconds);
            }
        } catch (NumberFormatException e) {
            // Refused below, as a number out of range is.
        }
        throw new RefusedException(Refusal.MISCONFIGURED);
    }

    private static boolean once(String text) throws RefusedException {
        return switch (text) {
            case "true" -> true;
            case "false" -> false;
            default -> throw new RefusedException(Refusal.MISCONFIGURED);
        };
    }

    private static String text(Map<String, String> config, String key, String otherwise) {
        String value = config.get(key);
        return value == null || value.isBlank() ? otherwise : value.strip();
    }
}
