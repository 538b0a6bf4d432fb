package passbridge.passport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** The bridge's dialect is written from the README's table: it has to be true. */
class RefusalTableTest {
    @Test
    void the_readme_tells_every_refusal_as_it_is() throws IOException {
        String readme = Files.readString(Path.of("..", "README.md"));
        for (Refusal refusal : Refusal.values()) {
            String row = "| " + refusal.status + " | `" + refusal.error + "` | " + refusal.description + " |";
            assertTrue(readme.contains(row), "keycloak/README.md lacks a row that ends with: " + row);
        }
    }

    @Test
    void descriptions_tell_refusals_apart() {
        var descriptions = Arrays.stream(Refusal.values()).map(refusal -> refusal.description).collect(Collectors.toSet());
        assertEquals(Refusal.values().length, descriptions.size());
    }
}
