package passbridge.tools;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/**
 * The test Passport and its signing clients as a program: one JSON object a line in, one a line out.
 *
 * <p>{@code serve} answers each line of standard input; {@code batch REQUEST COUNT} prints COUNT logins;
 * {@code issuer-key} prints what the realm trusts. The lines are described in keycloak/README.md.
 */
public final class PassportTool {
    private static final Set<String> KNOWN = Set.of(
            "id", "user", "algorithm", "expires_in", "issued_in", "signature_length", "flaw", "certificate");
    private static final ObjectMapper JSON = new ObjectMapper();

    private final Login.Maker maker = new Login.Maker();

    public static void main(String[] arguments) throws IOException {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        List<String> words = new ArrayList<>(List.of(arguments));
        String command = words.isEmpty() ? "" : words.remove(0);
        PassportTool tool = new PassportTool();
        switch (command) {
            case "serve" -> tool.serve(out);
            case "batch" -> {
                if (words.size() != 2) {
                    usage();
                }
                String request = words.get(0);
                int count = Integer.parseInt(words.get(1));
                for (int made = 0; made < count; made++) {
                    out.print(tool.answer(request) + "\n");
                }
            }
            case "issuer-key" -> out.print(Passport.trusted().publicKey() + "\n");
            default -> usage();
        }
        out.flush();
    }

    private static void usage() {
        System.err.println("usage: passport serve | batch REQUEST-JSON COUNT | issuer-key");
        System.exit(2);
    }

    private void serve(PrintStream out) throws IOException {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            if (!line.isBlank()) {
                out.print(answer(line) + "\n");
                out.flush();
            }
        }
    }

    /** One line for one line, an error included: whoever asks can always read exactly one answer. */
    String answer(String line) {
        ObjectNode reply = JSON.createObjectNode();
        try {
            JsonNode request = JSON.readTree(line);
            if (request.has("id")) {
                reply.set("id", request.get("id"));
            }
            refuseUnknownKeys(request);
            Login.Wish wish = wish(request);
            Login login = request.has("certificate")
                    ? maker.resign(request.get("certificate").asText(), wish)
                    : maker.make(wish);
            reply.put("certificate", login.certificate());
            reply.put("algorithm", login.algorithm());
            reply.put("signature", login.signature());
            if (login.expiresAt() != 0) {
                reply.put("expires_at", login.expiresAt());
            }
        } catch (JsonProcessingException e) {
            reply.put("error", "not a JSON object: " + e.getOriginalMessage());
        } catch (RuntimeException | GeneralSecurityException | IOException e) {
            // A number that no date can be made of is an ArithmeticException or a DateTimeException.
            reply.put("error", String.valueOf(e.getMessage()));
        }
        return reply.toString();
    }

    private static Login.Wish wish(JsonNode request) {
        String user = request.path("user").asText("");
        if (user.isEmpty() && !request.has("certificate")) {
            throw new IllegalArgumentException("user is missing");
        }
        long expiresIn = request.path("expires_in").asLong(600);
        // An expired passport was issued before it expired.
        long issuedIn = request.path("issued_in").asLong(Math.min(0, expiresIn - 600));
        return new Login.Wish(
                user,
                Algorithm.valueOf(request.path("algorithm").asText("RSA")),
                issuedIn,
                expiresIn,
                request.path("signature_length").asInt(0),
                Login.Flaw.valueOf(request.path("flaw").asText("none").toUpperCase(Locale.ROOT)));
    }

    private static void refuseUnknownKeys(JsonNode request) {
        for (Iterator<String> names = request.fieldNames(); names.hasNext(); ) {
            String name = names.next();
            if (!KNOWN.contains(name)) {
                throw new IllegalArgumentException("unknown key " + name);
            }
        }
    }
}
