package passbridge.tools;

import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.Socket;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * An old client, unchanged: gets a passport, signs it, and logs in over plain HTTP/1.1, as it did before the bridge.
 *
 * <p>It writes to a socket itself, so that what it prints is what really went over the wire. Status 0: it got a 200.
 */
public final class LegacyClient {
    private static final String DEFAULT_URL = "http://127.0.0.1:8080/auth/oauth/v2/token";
    private static final String USAGE = """
            usage: legacy-client --client-id ID --client-secret SECRET --user NAME [--url URL] [--algorithm RSA|GOST]
                                 [--scope WORDS] [--signature-length N] [--expires-in SECONDS] [--flaw WHAT]
                                 [--basic] [--to-realm] [--short] [--quiet]
              --url       where to log in (http only); default http://127.0.0.1:8080/auth/oauth/v2/token
              --basic     the client's credentials in the Authorization header instead of the body
              --to-realm  speak the new way (grant_type=password, grant_type_moex=passport), as the bridge does
              --short     cut long values in what is printed (never in what is sent)
              --quiet     print the answer's body alone
            """;

    private final Map<String, String> options;
    private final PrintStream out;

    private LegacyClient(Map<String, String> options, PrintStream out) {
        this.options = options;
        this.out = out;
    }

    public static void main(String[] arguments) throws GeneralSecurityException {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        System.exit(run(arguments, out));
    }

    /** The exit status: 0 got a 200, 1 did not, 2 was called wrongly. */
    static int run(String[] arguments, PrintStream out) throws GeneralSecurityException {
        if (List.of(arguments).contains("--help")) {
            out.print(USAGE);
            return 0;
        }
        try {
            return new LegacyClient(parse(new ArrayList<>(List.of(arguments))), out).logIn() ? 0 : 1;
        } catch (IllegalArgumentException e) {
            System.err.println("legacy-client: " + e.getMessage());
            System.err.print(USAGE);
            return 2;
        } catch (IOException e) {
            System.err.println("legacy-client: no answer: " + e.getMessage());
            return 1;
        }
    }

    private static Map<String, String> parse(List<String> words) {
        List<String> flags = List.of("basic", "to-realm", "short", "quiet");
        List<String> valued = List.of("url", "client-id", "client-secret", "user", "algorithm", "scope",
                "signature-length", "expires-in", "flaw");
        Map<String, String> options = new LinkedHashMap<>();
        while (!words.isEmpty()) {
            String word = words.remove(0);
            String name = word.startsWith("--") ? word.substring(2) : "";
            if (flags.contains(name)) {
                options.put(name, "");
            } else if (valued.contains(name) && !words.isEmpty()) {
                options.put(name, words.remove(0));
            } else {
                throw new IllegalArgumentException("what is " + word + "?");
            }
        }
        for (String needed : List.of("client-id", "client-secret", "user")) {
            if (!options.containsKey(needed)) {
                throw new IllegalArgumentException("--" + needed + " is missing");
            }
        }
        if (!options.getOrDefault("url", DEFAULT_URL).startsWith("http://")) {
            throw new IllegalArgumentException("--url is http only: what is sent is seen on the way");
        }
        return options;
    }

    private boolean logIn() throws IOException, GeneralSecurityException {
        Login.Wish wish = new Login.Wish(
                options.get("user"),
                Algorithm.valueOf(options.getOrDefault("algorithm", "RSA")),
                Math.min(0, number("expires-in", 600) - 600),
                number("expires-in", 600),
                (int) number("signature-length", 0),
                Login.Flaw.valueOf(options.getOrDefault("flaw", "none").toUpperCase(Locale.ROOT)));
        String request = request(form(new Login.Maker().make(wish)));
        String answer = exchange(request);
        int end = answer.indexOf("\r\n\r\n");
        if (end < 0) {
            throw new IOException("the connection ended within its head");
        }
        if (options.containsKey("quiet")) {
            out.print(answer.substring(end + 4));
        } else {
            print("> ", request);
            out.println();
            print("< ", answer);
        }
        out.flush();
        return answer.startsWith("HTTP/1.1 200 ");
    }

    private long number(String name, long otherwise) {
        return options.containsKey(name) ? Long.parseLong(options.get(name)) : otherwise;
    }

    private Map<String, String> form(Login login) {
        Map<String, String> form = new LinkedHashMap<>();
        if (options.containsKey("to-realm")) {
            form.put("grant_type", "password");
            form.put("grant_type_moex", "passport");
        } else {
            form.put("grant_type", "passport");
        }
        if (!options.containsKey("basic")) {
            form.put("client_id", options.get("client-id"));
            form.put("client_secret", options.get("client-secret"));
        }
        form.put("scope", options.getOrDefault("scope", "client_registration"));
        form.put("certificate", login.certificate());
        form.put("algorithm", login.algorithm());
        form.put("signature", login.signature());
        return form;
    }

    private URI url() {
        return URI.create(options.getOrDefault("url", DEFAULT_URL));
    }

    private String request(Map<String, String> form) {
        String body = form.entrySet().stream()
                .map(field -> field.getKey() + "=" + URLEncoder.encode(field.getValue(), StandardCharsets.UTF_8))
                .collect(Collectors.joining("&"));
        StringBuilder head = new StringBuilder();
        head.append("POST ").append(url().getRawPath()).append(" HTTP/1.1\r\n");
        head.append("Host: ").append(url().getRawAuthority()).append("\r\n");
        head.append("Content-Type: application/x-www-form-urlencoded\r\n");
        if (options.containsKey("basic")) {
            byte[] pair = (options.get("client-id") + ":" + options.get("client-secret")).getBytes(StandardCharsets.UTF_8);
            head.append("Authorization: Basic ").append(Base64.getEncoder().encodeToString(pair)).append("\r\n");
        }
        head.append("Content-Length: ").append(body.length()).append("\r\n");
        head.append("Connection: close\r\n\r\n");
        return head + body;
    }

    private String exchange(String request) throws IOException {
        try (Socket socket = new Socket(url().getHost(), url().getPort() < 0 ? 80 : url().getPort())) {
            socket.setSoTimeout(30_000);
            socket.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
            socket.getOutputStream().flush();
            ByteArrayOutputStream answer = new ByteArrayOutputStream();
            socket.getInputStream().transferTo(answer);
            return answer.toString(StandardCharsets.UTF_8);
        }
    }

    /** Line by line with a mark for the direction. */
    private void print(String mark, String message) {
        String shown = options.containsKey("short")
                ? message.replaceAll("([A-Za-z0-9_.+/%-]{40})[A-Za-z0-9_.+/%=-]{24,}", "$1...")
                : message;
        shown.lines().forEach(line -> out.println(mark + line));
    }
}
