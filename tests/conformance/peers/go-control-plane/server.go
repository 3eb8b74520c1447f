package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	clusters "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpoints "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routes "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secrets "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
)

// server is one go-control-plane, set up as its documentation says: the cache of aggregated streams
// with the ADS flag, that of the single services without; both send heartbeats for TTLs.
type server struct {
	address string
	grpc    *grpc.Server
	caches  [2]cache.SnapshotCache
	streams atomic.Int64
}

func newServer() *server {
	s := &server{grpc: grpc.NewServer()}
	ctx := context.Background()
	counted := xds.CallbackFuncs{
		StreamOpenFunc:        func(context.Context, int64, string) error { s.streams.Add(1); return nil },
		StreamClosedFunc:      func(int64, *core.Node) { s.streams.Add(-1) },
		DeltaStreamOpenFunc:   func(context.Context, int64, string) error { s.streams.Add(1); return nil },
		DeltaStreamClosedFunc: func(int64, *core.Node) { s.streams.Add(-1) },
	}
	for i, ads := range []bool{true, false} {
		s.caches[i] = cache.NewSnapshotCacheWithHeartbeating(ctx, ads, cache.IDHash{}, nil, 400*time.Millisecond)
	}
	discovery.RegisterAggregatedDiscoveryServiceServer(s.grpc, xds.NewServer(ctx, s.caches[0], counted))
	single := xds.NewServer(ctx, s.caches[1], counted)
	clusters.RegisterClusterDiscoveryServiceServer(s.grpc, single)
	endpoints.RegisterEndpointDiscoveryServiceServer(s.grpc, single)
	listeners.RegisterListenerDiscoveryServiceServer(s.grpc, single)
	routes.RegisterRouteDiscoveryServiceServer(s.grpc, single)
	secrets.RegisterSecretDiscoveryServiceServer(s.grpc, single)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	s.address = listener.Addr().String()
	go s.grpc.Serve(listener)
	return s
}

// set gives a node its snapshot. Each type's version is the hash of its content: kinder than a
// counter or one version for all types, by which every change would be one of every type.
func (s *server) set(node string, resources []resource) {
	byType := map[string][]types.ResourceWithTTL{}
	content := map[string][]string{}
	for _, r := range resources {
		message, err := r.any().UnmarshalNew()
		check(err)
		byType[r.TypeURL] = append(byType[r.TypeURL], types.ResourceWithTTL{Resource: message, TTL: r.ttl()})
		content[r.TypeURL] = append(content[r.TypeURL], fmt.Sprintf("%q %v %q", r.Name, r.TTL, r.Body))
	}
	for _, c := range s.caches {
		snapshot := &cache.Snapshot{}
		for i := range snapshot.Resources {
			url, err := cache.GetResponseTypeURL(types.ResponseType(i))
			check(err)
			slices.Sort(content[url])
			sum := sha256.Sum256([]byte(strings.Join(content[url], "\n")))
			snapshot.Resources[i] = cache.NewResourcesWithTTL(hex.EncodeToString(sum[:8]), byType[url])
		}
		check(c.SetSnapshot(context.Background(), node, snapshot))
	}
}

// watches counts the open watches of all nodes.
func (s *server) watches() int {
	open := 0
	for _, c := range s.caches {
		for _, node := range c.GetStatusKeys() {
			info := c.GetStatusInfo(node)
			open += info.GetNumWatches() + info.GetNumDeltaWatches()
		}
	}
	return open
}
