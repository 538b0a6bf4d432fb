package passbridge.passport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import passbridge.tools.Passport;

class PassportSettingsTest {
    private static final String KEY = Passport.trusted().publicKey();

    @Test
    void the_key_alone_is_enough() throws RefusedException {
        PassportSettings settings = PassportSettings.of(Map.of(PassportSettings.ISSUER_KEY, KEY));
        assertEquals("certificate", settings.certificateField());
        assertEquals("", settings.userAttribute());
        assertEquals(Duration.ZERO, settings.skew());
        assertFalse(settings.once());
    }

    @Test
    void blanks_count_as_unset_and_do_not_hurt() throws RefusedException {
        PassportSettings settings = PassportSettings.of(Map.of(
                PassportSettings.ISSUER_KEY, " " + KEY + "\n", PassportSettings.CLOCK_SKEW, " ", PassportSettings.ONCE, "true"));
        assertEquals(Duration.ZERO, settings.skew());
        assertTrue(settings.once());
    }

    @Test
    void without_a_good_key_nobody_is_let_in() {
        for (Map<String, String> config : List.<Map<String, String>>of(
                Map.of(),
                Map.of(PassportSettings.ISSUER_KEY, "no key"),
                Map.of(PassportSettings.ISSUER_KEY, "AAAA"),
                Map.of(PassportSettings.ISSUER_KEY, KEY, PassportSettings.CLOCK_SKEW, "soon"))) {
            var refused = assertThrows(RefusedException.class, () -> PassportSettings.of(config));
            assertEquals(Refusal.MISCONFIGURED, refused.refusal());
        }
    }

    @Test
    void a_value_that_would_be_read_as_less_than_was_meant_lets_nobody_in() {
        for (Map<String, String> config : List.of(
                // "yes" is no to parseBoolean: passports would be good for many logins where one was meant.
                Map.of(PassportSettings.ONCE, "yes"),
                Map.of(PassportSettings.ONCE, "1"),
                Map.of(PassportSettings.CLOCK_SKEW, "-1"),
                // Milliseconds, say: expired passports would be good for hours.
                Map.of(PassportSettings.CLOCK_SKEW, "30000"),
                Map.of(PassportSettings.CLOCK_SKEW, String.valueOf(Long.MAX_VALUE)))) {
            var whole = new HashMap<>(config);
            whole.put(PassportSettings.ISSUER_KEY, KEY);
            var refused = assertThrows(RefusedException.class, () -> PassportSettings.of(whole), config::toString);
            assertEquals(Refusal.MISCONFIGURED, refused.refusal());
        }
    }

    @Test
    void a_key_that_is_no_point_of_the_curve_lets_nobody_in() {
        byte[] noPoint = Base64.getDecoder().decode(KEY);
        Arrays.fill(noPoint, noPoint.length - 32, noPoint.length, (byte) 0);
        noPoint[noPoint.length - 32] = 2;
        var refused = assertThrows(RefusedException.class, () -> PassportSettings.of(
                Map.of(PassportSettings.ISSUER_KEY, Base64.getEncoder().encodeToString(noPoint))));
        assertEquals(Refusal.MISCONFIGURED, refused.refusal());
    }

    @Test
    void the_test_realm_trusts_the_test_passport() throws IOException {
        String realm = Files.readString(Path.of("..", "realm", "SSO-realm.json"));
        assertTrue(realm.contains("\"" + PassportSettings.ISSUER_KEY + "\": \"" + KEY + "\""));
    }
}
