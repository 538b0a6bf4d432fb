package passbridge.tools;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import org.junit.jupiter.api.Test;

/** The lines that other programs' tests rely on. */
class PassportToolTest {
    private final PassportTool tool = new PassportTool();

    private JsonNode ask(String line) throws IOException {
        String answer = tool.answer(line);
        assertFalse(answer.contains("\n"), "one line for one line");
        return new ObjectMapper().readTree(answer);
    }

    @Test
    void a_login_comes_with_everything_that_the_form_needs() throws IOException {
        JsonNode login = ask("{\"id\":7,\"user\":\"90417\",\"algorithm\":\"GOST\",\"expires_in\":60}");
        assertEquals(7, login.get("id").asInt());
        assertTrue(login.get("certificate").asText().matches("[A-Za-z0-9_-]{204}"));
        assertEquals("GOST", login.get("algorithm").asText());
        assertTrue(login.get("signature").asText().matches("[A-Za-z0-9+/]+=*"));
        assertTrue(login.get("expires_at").asLong() > System.currentTimeMillis() / 1000);
    }

    @Test
    void a_signature_is_exactly_as_long_as_wanted() throws IOException {
        for (String algorithm : new String[] {"RSA", "GOST"}) {
            for (int length : new int[] {3000, 4000, 4004, 8000, 8192, 40_000}) {
                JsonNode login = ask("{\"user\":\"90417\",\"algorithm\":\"" + algorithm + "\",\"signature_length\":" + length + "}");
                assertEquals(length, login.path("signature").asText().length(), login::toString);
            }
        }
    }

    @Test
    void an_impossible_length_is_said() throws IOException {
        for (int length : new int[] {4, 1000, 8001}) {
            String error = ask("{\"user\":\"90417\",\"signature_length\":" + length + "}").path("error").asText();
            assertTrue(error.contains("multiple of 4"), error);
        }
    }

    @Test
    void a_cookie_can_be_signed_again() throws IOException {
        String cookie = ask("{\"user\":\"90417\"}").get("certificate").asText();
        JsonNode again = ask("{\"certificate\":\"" + cookie + "\",\"signature_length\":4000}");
        assertEquals(cookie, again.get("certificate").asText());
        assertEquals(4000, again.get("signature").asText().length());
    }

    @Test
    void every_passport_is_another_one() throws IOException {
        assertNotEquals(ask("{\"user\":\"90417\"}").get("certificate"), ask("{\"user\":\"90417\"}").get("certificate"));
    }

    @Test
    void wrong_requests_get_an_error_and_their_id() throws IOException {
        for (String wrong : new String[] {
            "{\"id\":1,\"algorithm\":\"RSA\"}", "{\"id\":1,\"user\":\"90417\",\"algorithm\":\"DSA\"}",
            "{\"id\":1,\"user\":\"90417\",\"flaw\":\"all\"}", "{\"id\":1,\"user\":\"90417\",\"colour\":\"red\"}",
            "{\"id\":1,\"user\":\"90417\",\"expires_in\":" + Long.MAX_VALUE + "}",
            "{\"id\":1,\"user\":\"a name of more than 23 bytes\"}"}) {
            JsonNode answer = ask(wrong);
            assertEquals(1, answer.get("id").asInt());
            assertFalse(answer.get("error").asText().isEmpty());
        }
        assertFalse(ask("no JSON").get("error").asText().isEmpty());
        assertFalse(ask("[]").get("error").asText().isEmpty());
    }
}
