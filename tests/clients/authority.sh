# A certificate authority of this world alone, trusted by everything in it, and the server's certificate for $1.
set -e
folder=/etc/ssl/test
mkdir -p $folder
cd $folder
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=Authority of the test" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -keyout authority.key -out authority.pem 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout mail.key -out mail.csr 2>/dev/null
printf 'subjectAltName=DNS:%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' "$1" >extensions
openssl x509 -req -in mail.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 20 -extfile extensions \
    -out mail.pem 2>/dev/null
chmod 600 ./*.key
# As update-ca-certificates does.
cat authority.pem >>/etc/ssl/certs/ca-certificates.crt
cp authority.pem "/etc/ssl/certs/$(openssl x509 -hash -noout -in authority.pem).0"
