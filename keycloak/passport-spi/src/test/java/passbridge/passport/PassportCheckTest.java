package passbridge.passport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PublicKey;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Base64;
import java.util.Date;
import java.util.HexFormat;
import java.util.List;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509v3CertificateBuilder;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.jcajce.JcaSignerInfoGeneratorBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.util.CollectionStore;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import passbridge.tools.Algorithm;
import passbridge.tools.Login;
import passbridge.tools.Login.Flaw;
import passbridge.tools.Login.Wish;
import passbridge.tools.Passport;

/** Passports as the test Passport issues them, signed as the test's clients sign. */
class PassportCheckTest {
    private static final Login.Maker MAKER = new Login.Maker();

    private static PublicKey issuer() throws Exception {
        byte[] key = Base64.getDecoder().decode(Passport.trusted().publicKey());
        return KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(key));
    }

    private static PassportToken check(Login login, Instant now, int skew) throws Exception {
        return new PassportCheck(issuer(), Duration.ofSeconds(skew))
                .check(login.certificate(), login.algorithm(), login.signature(), now);
    }

    private static void assertRefused(Refusal expected, Login login) {
        assertRefused(expected, login, Instant.now(), 0);
    }

    private static void assertRefused(Refusal expected, Login login, Instant now, int skew) {
        assertEquals(expected, assertThrows(RefusedException.class, () -> check(login, now, skew)).refusal());
    }

    private static Login with(Login login, String certificate, String algorithm, String signature) {
        return new Login(certificate == null ? login.certificate() : certificate,
                algorithm == null ? login.algorithm() : algorithm,
                signature == null ? login.signature() : signature, 0);
    }

    @ParameterizedTest
    @EnumSource(Algorithm.class)
    void a_good_login_names_its_user(Algorithm algorithm) throws Exception {
        assertEquals("90417", check(MAKER.make(Wish.of("90417", algorithm)), Instant.now(), 0).subject());
    }

    @ParameterizedTest
    @CsvSource({"RSA,4000", "RSA,8000", "GOST,4000", "GOST,8000"})
    void long_chains_of_certificates_are_read_whole(Algorithm algorithm, int length) throws Exception {
        Login login = MAKER.make(Wish.of("90417", algorithm).signatureOf(length));
        assertEquals("90417", check(login, Instant.now(), 0).subject());
    }

    @ParameterizedTest
    @EnumSource(Algorithm.class)
    void every_flaw_has_its_own_refusal(Algorithm algorithm) throws Exception {
        Wish wish = Wish.of("90417", algorithm);
        assertRefused(Refusal.SIGNATURE_WRONG, MAKER.make(wish.with(Flaw.SIGNATURE)));
        assertRefused(Refusal.CERTIFICATE_NOT_GENUINE, MAKER.make(wish.with(Flaw.CERTIFICATE)));
        assertRefused(Refusal.CERTIFICATE_NOT_GENUINE, MAKER.make(wish.with(Flaw.ISSUER)));
        assertRefused(Refusal.SIGNATURE_OTHER_KEY, MAKER.make(wish.with(Flaw.KEY)));
        assertRefused(Refusal.SIGNATURE_OTHER_ALGORITHM, MAKER.make(wish.with(Flaw.ALGORITHM)));
    }

    /** What a client may send that holds an RSA key named by a good cookie, and signs otherwise than it should. */
    private static final class Forger {
        private static final BouncyCastleProvider BC = new BouncyCastleProvider();
        private final KeyPair key;
        private final String cookie;

        Forger() throws Exception {
            KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
            generator.initialize(2048);
            key = generator.generateKeyPair();
            Instant now = Instant.now();
            cookie = Passport.trusted().issue("90417", key.getPublic(), now, now.plusSeconds(600));
        }

        Login signing(String content, boolean attached, String... signatures) throws Exception {
            X500Name name = new X500Name("CN=Legacy client");
            Date now = new Date();
            X509CertificateHolder certificate =
                    new JcaX509v3CertificateBuilder(name, BigInteger.ONE, now, now, name, key.getPublic())
                            .build(new JcaContentSignerBuilder("SHA256withRSA").build(key.getPrivate()));
            var digests = new JcaDigestCalculatorProviderBuilder().setProvider(BC).build();
            CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
            for (String signature : signatures) {
                generator.addSignerInfoGenerator(new JcaSignerInfoGeneratorBuilder(digests).build(
                        new JcaContentSignerBuilder(signature).setProvider(BC).build(key.getPrivate()), certificate));
            }
            generator.addCertificates(new CollectionStore<>(List.of(certificate)));
            var bytes = new CMSProcessableByteArray(content.getBytes(StandardCharsets.US_ASCII));
            byte[] encoded = generator.generate(bytes, attached).getEncoded("DER");
            return new Login(cookie, "RSA", Base64.getEncoder().encodeToString(encoded), 0);
        }
    }

    @ParameterizedTest
    @CsvSource({"SHA1withRSA", "MD5withRSA", "SHA512withRSA", "SHA256withRSAandMGF1"})
    void another_digest_or_padding_under_the_right_key_is_refused(String signature) throws Exception {
        Forger forger = new Forger();
        assertRefused(Refusal.SIGNATURE_OTHER_ALGORITHM, forger.signing(forger.cookie, false, signature));
    }

    @Test
    void only_one_signature_over_the_cookie_itself_counts() throws Exception {
        Forger forger = new Forger();
        assertEquals("90417", check(forger.signing(forger.cookie, false, "SHA256withRSA"), Instant.now(), 0).subject());
        assertRefused(Refusal.SIGNATURE_WRONG, forger.signing("something else", true, "SHA256withRSA"));
        assertRefused(Refusal.SIGNATURE_MALFORMED,
                forger.signing(forger.cookie, false, "SHA256withRSA", "SHA256withRSA"));
    }

    @ParameterizedTest
    @EnumSource(Algorithm.class)
    void any_changed_character_of_the_cookie_is_noticed(Algorithm algorithm) throws Exception {
        Login login = MAKER.make(Wish.of("90417", algorithm));
        for (int at = 0; at < login.certificate().length(); at++) {
            char other = login.certificate().charAt(at) == 'A' ? 'B' : 'A';
            String changed = login.certificate().substring(0, at) + other + login.certificate().substring(at + 1);
            assertThrows(RefusedException.class, () -> check(with(login, changed, null, null), Instant.now(), 0));
        }
    }

    @ParameterizedTest
    @EnumSource(Algorithm.class)
    void a_signature_over_another_cookie_is_wrong(Algorithm algorithm) throws Exception {
        Login one = MAKER.make(Wish.of("90417", algorithm));
        Login other = MAKER.make(Wish.of("90423", algorithm));
        assertRefused(Refusal.SIGNATURE_WRONG, with(one, null, null, other.signature()));
    }

    @ParameterizedTest
    @EnumSource(Algorithm.class)
    void a_damaged_signature_is_refused_and_nothing_worse(Algorithm algorithm) throws Exception {
        Login login = MAKER.make(Wish.of("90417", algorithm));
        byte[] good = Base64.getDecoder().decode(login.signature());
        for (int at = 0; at < good.length; at += 3) {
            byte[] damaged = good.clone();
            damaged[at] ^= 0x40;
            String text = Base64.getEncoder().encodeToString(damaged);
            try {
                // Damage to the chain, which carries no trust, may pass; anything but a refusal must not.
                assertEquals("90417", check(with(login, null, null, text), Instant.now(), 0).subject());
            } catch (RefusedException e) {
                continue;
            }
        }
        String last = Base64.getEncoder().encodeToString(flippedAt(good, good.length - 1));
        assertRefused(Refusal.SIGNATURE_WRONG, with(login, null, null, last));
    }

    private static byte[] flippedAt(byte[] bytes, int at) {
        byte[] flipped = bytes.clone();
        flipped[at] ^= 1;
        return flipped;
    }

    @Test
    void a_passport_ends_to_the_second_and_the_skew_is_granted() throws Exception {
        Login login = MAKER.make(Wish.of("90417", Algorithm.GOST));
        Instant end = Instant.ofEpochSecond(login.expiresAt());
        check(login, end.minusSeconds(1), 0);
        assertRefused(Refusal.CERTIFICATE_EXPIRED, login, end, 0);
        check(login, end.plusSeconds(29), 30);
        assertRefused(Refusal.CERTIFICATE_EXPIRED, login, end.plusSeconds(30), 30);
        Instant start = end.minusSeconds(600);
        check(login, start.minusSeconds(30), 30);
        assertRefused(Refusal.CERTIFICATE_NOT_YET_VALID, login, start.minusSeconds(31), 30);
    }

    @Test
    void what_is_missing_is_named() throws Exception {
        Login login = MAKER.make(Wish.of("90417", Algorithm.RSA));
        assertRefused(Refusal.CERTIFICATE_MISSING, new Login(null, null, null, 0));
        assertRefused(Refusal.CERTIFICATE_MISSING, with(login, "", null, null));
        assertRefused(Refusal.ALGORITHM_MISSING, with(login, null, "", null));
        assertRefused(Refusal.SIGNATURE_MISSING, with(login, null, null, ""));
        assertRefused(Refusal.ALGORITHM_UNKNOWN, with(login, null, "rsa", null));
    }

    @Test
    void what_is_no_cookie_or_no_signature_is_malformed() throws Exception {
        Login login = MAKER.make(Wish.of("90417", Algorithm.RSA));
        String cookie = login.certificate();
        for (String wrong : new String[] {"abc", cookie + "A", cookie.substring(1), "+" + cookie.substring(1),
            "B" + cookie.substring(1), "A".repeat(204), "я".repeat(204)}) {
            assertRefused(Refusal.CERTIFICATE_MALFORMED, with(login, wrong, null, null));
        }
        String signature = login.signature();
        for (String wrong : new String[] {"abc", "AAAA", "MIIA", signature.replace('+', ' ') + " ", signature.substring(4),
            signature.substring(0, 1000), signature + "\n", "A".repeat(70_000)}) {
            assertRefused(Refusal.SIGNATURE_MALFORMED, with(login, null, null, wrong));
        }
    }

    @Test
    void what_is_nested_as_deep_as_it_fits_is_malformed() throws Exception {
        Login login = MAKER.make(Wish.of("90417", Algorithm.RSA));
        byte[] signedData = Base64.getDecoder().decode("MIAGCSqGSIb3DQEHAqCA"); // ContentInfo of signedData, then open ends
        byte[] deep = Arrays.copyOf(signedData, 48 * 1024);
        for (String pair : new String[] {"3080", "3180", "a080", "2480"}) {
            byte[] open = HexFormat.of().parseHex(pair);
            for (int at = signedData.length; at + 1 < deep.length; at += 2) {
                deep[at] = open[0];
                deep[at + 1] = open[1];
            }
            assertRefused(Refusal.SIGNATURE_MALFORMED, with(login, null, null, Base64.getEncoder().encodeToString(deep)));
        }
    }
}
