package passbridge.tools;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Against a server that keeps what it hears. */
class LegacyClientTest {
    private final List<String> heard = new ArrayList<>();
    private int status = 200;
    private HttpServer server;

    @BeforeEach
    void listen() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/token", call -> {
            heard.add(call.getRequestHeaders().getFirst("Authorization") + "\n"
                    + new String(call.getRequestBody().readAllBytes(), StandardCharsets.UTF_8));
            byte[] answer = "{\r\n}".getBytes(StandardCharsets.UTF_8);
            call.sendResponseHeaders(status, answer.length);
            call.getResponseBody().write(answer);
            call.close();
        });
        server.start();
    }

    @AfterEach
    void stop() {
        server.stop(0);
    }

    private String run(int expected, String... more) throws GeneralSecurityException {
        List<String> words = new ArrayList<>(List.of(
                "--client-id", "l7xx3c0ffee", "--client-secret", "old secret", "--user", "90417", "--algorithm", "GOST",
                "--url", "http://127.0.0.1:" + server.getAddress().getPort() + "/token"));
        words.addAll(List.of(more));
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream out = new PrintStream(printed, true, StandardCharsets.UTF_8);
        assertEquals(expected, LegacyClient.run(words.toArray(new String[0]), out));
        return printed.toString(StandardCharsets.UTF_8);
    }

    @Test
    void it_speaks_as_the_old_clients_did() throws GeneralSecurityException {
        String printed = run(0);
        assertTrue(heard.get(0).matches("null\ngrant_type=passport&client_id=l7xx3c0ffee&client_secret=old\\+secret"
                + "&scope=client_registration&certificate=[A-Za-z0-9_-]{204}&algorithm=GOST&signature=[A-Za-z0-9%]+"), heard::toString);
        assertTrue(printed.startsWith("> POST /token HTTP/1.1\n"), printed);
        assertTrue(printed.contains("> grant_type=passport&"), printed);
        assertTrue(printed.contains("\n< HTTP/1.1 200 OK\n"), printed);
    }

    @Test
    void it_can_put_credentials_in_the_header_and_speak_the_new_way() throws GeneralSecurityException {
        assertEquals("{\r\n}", run(0, "--basic", "--to-realm", "--quiet"));
        assertTrue(heard.get(0).startsWith("Basic bDd4eDNjMGZmZWU6b2xkIHNlY3JldA==\n"
                + "grant_type=password&grant_type_moex=passport&scope=client_registration&certificate="), heard::toString);
    }

    @Test
    void it_lists_its_options_when_asked() throws GeneralSecurityException {
        assertTrue(run(0, "--help").startsWith("usage: legacy-client --client-id ID "));
        assertEquals(List.of(), heard);
    }

    @Test
    void its_status_says_whether_it_got_in() throws GeneralSecurityException {
        status = 401;
        run(1);
        assertEquals(2, LegacyClient.run(new String[] {"--client-id"}, System.out));
        // In clear what was meant for TLS: no.
        assertEquals("", run(2, "--url", "https://127.0.0.1:" + server.getAddress().getPort() + "/token"));
    }

    @Test
    void an_answer_that_never_begins_is_no_answer() throws Exception {
        try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            Thread closes = new Thread(() -> {
                try (Socket caller = silent.accept()) {
                    // All that is said is read first, so that the end is an end and no reset.
                    byte[] heard = new byte[16 * 1024];
                    String whole = "";
                    while (!whole.contains("signature=")) {
                        whole += new String(heard, 0, caller.getInputStream().read(heard), StandardCharsets.UTF_8);
                    }
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
            closes.start();
            assertEquals("", run(1, "--quiet", "--url", "http://127.0.0.1:" + silent.getLocalPort() + "/token"));
            closes.join();
        }
    }
}
