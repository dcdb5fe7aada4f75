# A renewal: other keys for the same names. The authority is not the one of before, which nobody asks here.
mkdir renewed
names=$(openssl x509 -in certs/dev/us1.pem -noout -ext subjectAltName | tail -n 1 | tr -d ' ')
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 60 -subj /CN=renewed \
    -addext "subjectAltName=$names" -keyout renewed/us1.key -out renewed/us1.pem 2>/dev/null
