package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// CSV writes the time series of all runs to w, a row for each interval. The columns behind those that name the run are the
// keys of a point in result.json; what is unknown is empty.
func CSV(w io.Writer, r *Result) error {
	out := csv.NewWriter(w)
	header := []string{"run", "stage", "guard", "workload"}
	fields := reflect.TypeFor[Point]()
	for i := range fields.NumField() {
		header = append(header, fields.Field(i).Tag.Get("json"))
	}
	if err := out.Write(header); err != nil {
		return err
	}
	for i := range r.Runs {
		run := &r.Runs[i]
		for j := range run.Series {
			row := []string{strconv.Itoa(i + 1), inert(run.place()), inert(string(run.Guard)), inert(run.Workload)}
			if err := out.Write(append(row, figures(&run.Series[j])...)); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// figures are the values of a point in the order of its fields.
func figures(p *Point) []string {
	v := reflect.ValueOf(p).Elem()
	row := make([]string, v.NumField())
	for i := range row {
		field := v.Field(i)
		if field.Kind() == reflect.Pointer {
			if field.IsNil() {
				continue
			}
			field = field.Elem()
		}
		row[i] = fmt.Sprint(field.Interface())
		if f, ok := field.Interface().(float64); ok {
			row[i] = strconv.FormatFloat(f, 'f', -1, 64)
		}
	}
	return row
}

// inert keeps a spreadsheet from taking a name from the service for a formula.
func inert(s string) string {
	s = printable(s)
	if strings.IndexAny(s, "=+-@") == 0 {
		return "'" + s
	}
	return s
}
