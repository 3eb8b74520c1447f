// Command fanout is the peer of the fanout bench, and the client of both sides.
//
//	fanout server SERVICES STREAMS shared|pernode [TLS]   go-control-plane with one snapshot for all nodes, or for each
//	fanout client ADDRESS STREAMS all [TLS]               delta ADS streams, each on a connection of its own
//
// TLS is a folder with ca.pem, server.pem, server.key, client.pem and client.key.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"log"
	"os"
	"path/filepath"
	"strconv"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	if len(os.Args) < 5 {
		log.Fatal("fanout: want server SERVICES STREAMS shared|pernode [TLS] or client ADDRESS STREAMS all [TLS]")
	}
	folder := ""
	if len(os.Args) > 5 {
		folder = os.Args[5]
	}
	streams := number(os.Args[3])
	switch os.Args[1] {
	case "server":
		runServer(number(os.Args[2]), streams, os.Args[4] == "pernode", transport(folder, "server"))
	case "client":
		runClient(os.Args[2], streams, transport(folder, "client"))
	default:
		log.Fatalf("fanout: %q is neither server nor client", os.Args[1])
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		log.Fatal("fanout: ", err)
	}
}

// transport returns mutual TLS as one of the two parts, or plaintext without a folder.
func transport(folder, part string) credentials.TransportCredentials {
	if folder == "" {
		return insecure.NewCredentials()
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, part+".pem"), filepath.Join(folder, part+".key"))
	check(err)
	ca, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	})
}
