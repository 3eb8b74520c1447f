// Command go-control-plane runs go-control-plane's snapshot cache and server for the conformance kit.
//
// It prints "control ADDRESS" and ends when its stdin does. What the control port takes is said in
// tests/conformance/target.py.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
)

// lacks says what the library leaves to the program around it, or does not have.
var lacks = map[string]string{
	"record": "it does not look at error_detail; answers only reach the callbacks of the program around it",
	"tls":    "who may open a stream is decided by the program around it",
	"drain":  "the gRPC server, and how it stops, belong to the program around it",
}

func main() {
	a := &adapter{snapshots: map[string][]resource{}, servers: map[string]*server{}}
	first := a.start()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		say(w, map[string]any{"name": "go-control-plane v0.14.0", "address": first, "lacks": lacks})
	})
	mux.HandleFunc("PUT /snapshots/{node}", a.put)
	mux.HandleFunc("GET /nodes/{node}", func(w http.ResponseWriter, _ *http.Request) {
		say(w, map[string]any{"answers": []string{}, "behind": ""})
	})
	mux.HandleFunc("GET /load", a.load)
	mux.HandleFunc("POST /servers", func(w http.ResponseWriter, _ *http.Request) {
		say(w, map[string]any{"address": a.start()})
	})
	mux.HandleFunc("DELETE /servers/{address}", a.stop)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go http.Serve(listener, mux)
	fmt.Println("control", listener.Addr())
	io.Copy(io.Discard, os.Stdin)
}

// resource is one of a snapshot, as the kit puts it.
type resource struct {
	TypeURL string  `json:"type_url"`
	Name    string  `json:"name"`
	Body    []byte  `json:"body"`
	TTL     float64 `json:"ttl"`
}

func (r resource) ttl() *time.Duration {
	if r.TTL == 0 {
		return nil
	}
	ttl := time.Duration(r.TTL * float64(time.Second))
	return &ttl
}

func (r resource) any() *anypb.Any { return &anypb.Any{TypeUrl: r.TypeURL, Value: r.Body} }

// adapter keeps what was put, for servers that start later.
type adapter struct {
	mu        sync.Mutex
	snapshots map[string][]resource
	servers   map[string]*server
}

func (a *adapter) put(w http.ResponseWriter, r *http.Request) {
	var body struct{ Resources []resource }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	node := r.PathValue("node")
	a.snapshots[node] = body.Resources
	for _, s := range a.servers {
		s.set(node, body.Resources)
	}
}

func (a *adapter) start() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := newServer()
	for node, resources := range a.snapshots {
		s.set(node, resources)
	}
	a.servers[s.address] = s
	return s.address
}

func (a *adapter) stop(_ http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.servers[r.PathValue("address")]; s != nil {
		delete(a.servers, s.address)
		s.grpc.Stop()
	}
}

func (a *adapter) load(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	streams, watches := 0, 0
	for _, s := range a.servers {
		streams += int(s.streams.Load())
		watches += s.watches()
	}
	say(w, map[string]int{"streams": streams, "watches": watches})
}

func say(w http.ResponseWriter, value any) { check(json.NewEncoder(w).Encode(value)) }

func check(err error) {
	if err != nil {
		log.Fatal("go-control-plane: ", err)
	}
}
