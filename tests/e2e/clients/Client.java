import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Java's HttpClient as it comes (it offers HTTP/2 by an Upgrade), which revokes as the old vendor's SDKs do: DELETE, with Basic
 * and the token in the query. What is refused is read by the older HttpURLConnection too.
 */
public final class Client {
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final String BASE = System.getenv("BASE");

    public static void main(String[] arguments) throws Exception {
        HttpResponse<String> first = post("", form("grant_type", "passport", "certificate", System.getenv("CERTIFICATE"),
                "algorithm", System.getenv("ALGORITHM"), "signature", System.getenv("SIGNATURE"), "scope", "client_registration"));
        HttpResponse<String> next = refresh(text(first, "refresh_token"));
        String access = text(next, "access_token");
        boolean before = active(access);
        HttpRequest delete = request("/revoke?" + form("token", access, "token_type_hint", "access_token")).DELETE().build();
        String revoked = text(HTTP.send(delete, BodyHandlers.ofString()), "result");
        boolean after = active(access);
        HttpResponse<String> refused = refresh(text(next, "refresh_token"));
        System.out.printf("{\"first\":[\"%s\",\"%s\",%s,\"%s\"],\"next\":[\"%s\",\"%s\"],\"before\":%s,\"revoked\":\"%s\",\"after\":%s,"
                + "\"refused\":[%d,\"%s\",\"%s\"],\"denied\":%s}%n", text(first, "access_token"), text(first, "refresh_token"),
                value(first.body(), "\"expires_in\":(\\d+)"), text(first, "scope"), access, text(next, "refresh_token"), before,
                revoked, after, refused.statusCode(), refused.headers().firstValue("x-ca-err").orElse(""), text(refused, "error"),
                denied());
    }

    private static HttpResponse<String> refresh(String token) throws Exception {
        return post("", form("grant_type", "refresh_token", "refresh_token", token));
    }

    private static boolean active(String token) throws Exception {
        return Boolean.parseBoolean(value(post("/introspect", form("token", token)).body(), "\"active\":(true|false)"));
    }

    private static HttpResponse<String> post(String path, String form) throws Exception {
        HttpRequest request = request(path).header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
                .POST(BodyPublishers.ofString(form)).build();
        return HTTP.send(request, BodyHandlers.ofString());
    }

    private static HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(BASE + path)).header("Authorization", basic(System.getenv("CLIENT_SECRET")));
    }

    private static String denied() throws Exception {
        HttpURLConnection old = (HttpURLConnection) URI.create(BASE).toURL().openConnection();
        old.setRequestProperty("Authorization", basic("wrong"));
        old.setDoOutput(true);
        old.getOutputStream().write(form("grant_type", "passport").getBytes(StandardCharsets.UTF_8));
        try (InputStream body = old.getResponseCode() < 400 ? old.getInputStream() : old.getErrorStream()) {
            String text = new String(body.readAllBytes(), StandardCharsets.UTF_8);
            return "[%d,\"%s\",\"%s\"]".formatted(old.getResponseCode(), old.getHeaderField("x-ca-err"),
                    value(text, "\"error\":\"([^\"]*)\""));
        }
    }

    private static String basic(String secret) {
        byte[] pair = (System.getenv("CLIENT_ID") + ":" + secret).getBytes(StandardCharsets.UTF_8);
        return "Basic " + Base64.getEncoder().encodeToString(pair);
    }

    private static String form(String... namesAndValues) {
        StringBuilder form = new StringBuilder();
        for (int i = 0; i < namesAndValues.length; i += 2) {
            form.append(i == 0 ? "" : "&").append(namesAndValues[i]).append('=')
                    .append(URLEncoder.encode(namesAndValues[i + 1], StandardCharsets.UTF_8));
        }
        return form.toString();
    }

    private static String text(HttpResponse<String> answer, String name) {
        return value(answer.body(), "\"" + name + "\": ?\"([^\"]*)\"");
    }

    private static String value(String body, String pattern) {
        Matcher found = Pattern.compile(pattern).matcher(body);
        if (!found.find()) {
            throw new IllegalStateException("no " + pattern + " in " + body);
        }
        return found.group(1);
    }
}
